"""Variables of the server: addresses, host names, proxies and logging."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from project.bridge.middleware.proxy_headers import parse_proxies
from project.config.variables.types import CommaSeparated

BASE_DIR = Path(__file__).resolve().parents[3]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LogFormat = Literal["text", "json"]


class ServerVariables(BaseSettings):
    """Variables of the server: addresses, host names, proxies and logging."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0 means any free port.")
    web_concurrency: str | None = Field(
        None,
        pattern=r"^(auto|[1-9][0-9]{0,2})$",
        description="Number of server processes of manage.py serve, or auto for one per CPU core. The option --processes"
        " overrides this variable. Defaults to one process without a supervisor.",
    )
    data_dir: Path = Field(
        BASE_DIR / "var", description="Directory of the database, the secret key and the static files. Created if it is missing."
    )
    debug: bool = Field(False, description="Show Django's debug pages. For development only.")
    log_level: LogLevel = Field("INFO", description="Minimum level of log messages: DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    log_format: LogFormat = Field("text", description="Format of log lines: text, or json for one JSON object per line.")
    allowed_hosts: CommaSeparated = Field(
        ["127.0.0.1", "localhost", "[::1]"], description="Host names this server answers to, separated by commas."
    )
    csrf_trusted_origins: CommaSeparated = Field(
        [], description="Additional origins whose pages may submit forms and open WebSockets, separated by commas."
    )
    cors_origins: CommaSeparated = Field(
        [],
        description="Origins whose pages may call the API with a token, such as https://app.example.com, separated by commas;"
        " * for all. Cookies are never accepted from them.",
    )
    public_url: str | None = Field(
        None, description="URL that users open, such as https://mail.example.com. With https://, a proxy in front terminates TLS."
    )
    trusted_proxies: CommaSeparated = Field(
        [],
        description="Addresses or networks of the proxies in front of this server, separated by commas; unix for a Unix socket."
        " Their X-Forwarded-For and X-Forwarded-Proto headers are trusted.",
    )
    api_docs: bool = Field(True, description="Serve the API documentation: /api/docs, /api/redoc and /api/openapi.json.")
    health_allowed_networks: CommaSeparated = Field(
        ["127.0.0.0/8", "::1", "unix"],
        description="Addresses or networks whose requests to /api/health/live and /api/health/ready need neither HTTPS nor an"
        " allowed host, separated by commas; unix for a Unix socket.",
    )
    ready_max_queue_age: float = Field(
        600.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that the oldest due email may wait before /api/health/ready shows a warning. 0 means any time.",
    )
    shutdown_grace: float = Field(
        25.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that requests, background tasks and emails in flight may take together to finish after SIGTERM.",
    )
    metrics_token: SecretStr | None = Field(
        None, min_length=16, description="Bearer token for reading /api/metrics, at least 16 characters."
    )

    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="URL of an OpenTelemetry collector (OTLP over HTTP) that receives traces. Needs the extra otel."
    )
    sentry_dsn: SecretStr | None = Field(
        None, description="DSN of the Sentry project that receives errors. Needs the extra sentry."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics port.")
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port where this command serves the metrics of its processes at /metrics, without a credential.",
    )

    @field_validator(
        "allowed_hosts", "csrf_trusted_origins", "cors_origins", "trusted_proxies", "health_allowed_networks", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("csrf_trusted_origins")
    @classmethod
    def _check_origins(cls, value: list[str]) -> list[str]:
        if invalid := [origin for origin in value if not re.fullmatch(r"https?://[^/]+", origin)]:
            raise ValueError(f"{invalid[0]} does not look like https://host")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_cors_origins(cls, value: list[str]) -> list[str]:
        if value == ["*"]:
            return value
        if invalid := [origin for origin in value if not re.fullmatch(r"https?://[^/*\s?#@]+", origin)]:
            raise ValueError(f"{invalid[0]} does not look like https://host")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = value.rstrip("/")
        if not re.fullmatch(r"https?://[^/?#@\s]+", url) or not urlsplit(url).hostname:
            raise ValueError("it must look like https://host")
        return url

    @field_validator("trusted_proxies", "health_allowed_networks")
    @classmethod
    def _check_networks(cls, value: list[str]) -> list[str]:
        parse_proxies(value)
        return value
