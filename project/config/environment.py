"""The environment as one typed, validated object. An invalid value aborts startup with an error that names the variable."""

import re
import secrets
from datetime import timedelta
from email.utils import parseaddr
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import dj_database_url
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from project.bridge.middleware.proxy_headers import parse_proxies
from project.config.data_dir import restrict_database_permissions, write_if_missing
from project.config.durations import DEFAULT_RETRY_DELAYS, parse_durations
from project.config.email_url import MAILBOX_URL, Relay, parse_email_url
from project.config.rates import UNLIMITED, parse_rate

BASE_DIR = Path(__file__).resolve().parents[2]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Timeout = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # seconds
CommaSeparated = Annotated[list[str], NoDecode]  # text with commas, not JSON


class Environment(BaseSettings):
    """All environment variables that Mailrail reads. Their names are in upper case: `HOST`, `PORT`, …"""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0 means any free port.")
    data_dir: Path = Field(
        BASE_DIR / "var", description="Directory of the database, the secret key and the static files. Created if it is missing."
    )
    secret_key: SecretStr | None = Field(
        None, min_length=32, description="Signs sessions and access tokens, at least 32 characters. Generated on first start."
    )
    debug: bool = Field(False, description="Show Django's debug pages. For development only.")
    allowed_hosts: CommaSeparated = Field(
        ["127.0.0.1", "localhost", "[::1]"], description="Host names this server answers to, separated by commas."
    )
    csrf_trusted_origins: CommaSeparated = Field(
        [], description="Additional origins whose pages may submit forms and open WebSockets, separated by commas."
    )
    public_url: str | None = Field(
        None, description="URL that users open, such as https://mail.example.com. With https://, a proxy in front terminates TLS."
    )
    trusted_proxies: CommaSeparated = Field(
        [],
        description="Addresses or networks of the proxies in front of this server, separated by commas; unix for a Unix socket."
        " Their X-Forwarded-For and X-Forwarded-Proto headers are trusted.",
    )
    database_url: SecretStr | None = Field(
        None, description="postgres://user:password@host/name or sqlite:///path. Defaults to a SQLite file in DATA_DIR."
    )
    email_url: Annotated[SecretStr, NoDecode] = Field(
        SecretStr(MAILBOX_URL),
        description="Where emails are sent. mailbox:// stores them on this machine; smtp://, smtp+starttls:// or"
        " smtps://user:password@host:port sends them to a relay.",
    )
    email_backend: str | None = Field(
        None, pattern=r"^\w+(\.\w+)+$", description="Dotted path of a Django email backend, used instead of EMAIL_URL."
    )
    default_from_email: str = Field(
        "Mailrail <mailrail@localhost>", pattern=r"^[^\r\n\x00]+$", description="From address of emails that do not set one."
    )
    delivery_worker: Literal["in_process", "subprocess", "external"] | None = Field(
        None,
        description="Where emails are delivered. subprocess: in a process that the server starts (default of manage.py serve)."
        " in_process: inside the server (default of other servers). external: by manage.py deliver, which you run yourself.",
    )
    retry_delays: Annotated[tuple[timedelta, ...], NoDecode] = Field(
        DEFAULT_RETRY_DELAYS,
        description="Delays between attempts, separated by commas, such as 1m,5m,15m,1h,4h,12h,1d. none disables retries.",
    )
    max_request_bytes: int = Field(15 * 1024 * 1024, gt=0, description="Maximum size of a request body, in bytes.")
    request_body_timeout: Timeout = Field(120.0, description="Seconds a client may take to send a request body.")
    client_write_timeout: Timeout = Field(
        60.0, description="Seconds a slow client may take to read a response before it is disconnected."
    )
    websocket_messages_per_second: int = Field(
        10_000,
        ge=0,
        description="Maximum messages per second read from one WebSocket. Extra messages are delayed, not dropped."
        " 0 means unlimited.",
    )
    max_streams_per_caller: int = Field(
        1000,
        ge=0,
        description="Maximum open WebSockets and event streams per API key, per user, or per IP address without a credential, in"
        " each process. 0 means unlimited.",
    )
    rate_limit_key: str = Field(
        UNLIMITED, description="Maximum requests per API key, such as 100/second or 6000/minute. off means unlimited."
    )
    rate_limit_user: str = Field(
        UNLIMITED, description="Maximum requests per user, by access token or session, such as 6000/minute. off means unlimited."
    )
    rate_limit_anonymous: str = Field(
        "60000/minute", description="Maximum requests per IP address without a valid credential. off means unlimited."
    )
    rate_limit_login: str = Field(
        "600/minute", description="Maximum requests for access tokens per IP address, and per user. off means unlimited."
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis server, such as redis://host:6379: processes share rate limits and notify each other through it."
    )
    login_max_failures: int = Field(
        10, ge=0, description="Failed logins after which a user or an IP address is locked out. 0 disables the lockout."
    )
    login_lockout_seconds: int = Field(300, gt=0, description="Duration of the lockout, in seconds.")
    require_2fa: bool = Field(False, description="Require two-factor login for all users of the admin.")
    audit_retention_days: int = Field(400, ge=0, le=36_500, description="Days to keep audit entries. 0 means forever.")
    shutdown_grace: float = Field(
        25.0, ge=0, allow_inf_nan=False, description="Seconds that running work may take to finish after SIGTERM."
    )
    admin_username: str = Field("admin", min_length=1, description="Username of the first administrator, created on first start.")
    admin_password: SecretStr | None = Field(
        None, min_length=1, description="Password of the first administrator. Generated and shown once if not set."
    )
    metrics_token: SecretStr | None = Field(
        None, min_length=16, description="Bearer token for reading /api/metrics, at least 16 characters."
    )
    log_level: LogLevel = Field("INFO", description="Minimum level of log messages: DEBUG, INFO, WARNING, ERROR or CRITICAL.")

    @field_validator("allowed_hosts", "csrf_trusted_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _parse_delays(cls, value: object) -> object:
        return parse_durations("" if value == "none" else value) if isinstance(value, str) else value

    @field_validator("csrf_trusted_origins")
    @classmethod
    def _check_origins(cls, value: list[str]) -> list[str]:
        if invalid := [origin for origin in value if not re.fullmatch(r"https?://[^/]+", origin)]:
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

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: list[str]) -> list[str]:
        parse_proxies(value)
        return value

    @field_validator("rate_limit_key", "rate_limit_user", "rate_limit_anonymous", "rate_limit_login")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        parse_rate(value)
        return value

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"rediss?://.", value.get_secret_value()):
            raise ValueError("it must look like redis://host:6379")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            dj_database_url.parse(value.get_secret_value())
        except (ValueError, KeyError):
            raise ValueError("it is not the URL of a database that Django supports") from None
        return value

    @field_validator("default_from_email")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1]:
            raise ValueError("it contains no email address")
        return value

    @field_validator("email_url")
    @classmethod
    def _check_email_url(cls, value: SecretStr) -> SecretStr:
        parse_email_url(value.get_secret_value())
        return value

    @cached_property
    def relay(self) -> Relay | None:
        """The SMTP server of `EMAIL_URL`, or None for the embedded mailbox."""
        return parse_email_url(self.email_url.get_secret_value())

    @cached_property
    def public_host(self) -> str | None:
        """The host name of `PUBLIC_URL`, written as in `ALLOWED_HOSTS`: an IPv6 address has brackets."""
        host = urlsplit(self.public_url or "").hostname
        return f"[{host}]" if host and ":" in host else host

    @property
    def has_tls(self) -> bool:
        """Return whether clients reach this server over TLS."""
        return self.public_url is not None and self.public_url.startswith("https://")

    def ensure_data_dir(self) -> Path:
        """Return `DATA_DIR`, created with mode 700 if it is missing. Removes other users' access to the SQLite files in it."""
        folder = self.data_dir.resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        restrict_database_permissions(folder)
        return folder

    @cached_property
    def resolved_secret_key(self) -> str:
        """`SECRET_KEY`, or the key that the first start wrote to `DATA_DIR/secret_key`."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        path = self.ensure_data_dir() / "secret_key"
        if not path.exists():
            write_if_missing(path, secrets.token_urlsafe(50))
        return path.read_text().strip()


def read_environment() -> Environment:
    """Return the environment of this process. Exits with one error line for each invalid variable."""
    try:
        return Environment()
    except ValidationError as error:
        raise SystemExit("\n".join(_error_lines(error))) from None


def _error_lines(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0])
        reason = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{name.upper()}: {reason}. Expected: {Environment.model_fields[name].description}")
    return lines
