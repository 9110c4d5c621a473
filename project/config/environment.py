"""The environment as one typed, validated object. A value that does not fit stops the start, by name."""

import os
import re
import secrets
import stat
from contextlib import suppress
from datetime import timedelta
from email.utils import parseaddr
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Literal
from urllib.parse import urlsplit

import dj_database_url
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from project.bridge.middleware.proxy_headers import parse_proxies
from project.config.durations import DEFAULT_RETRY_DELAYS, parse_durations
from project.config.email_url import MAILBOX_URL, Relay, parse_email_url
from project.config.rates import UNLIMITED, parse_rate

BASE_DIR = Path(__file__).resolve().parents[2]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
CommaSeparated = Annotated[list[str], NoDecode]  # written with commas between


class Environment(BaseSettings):
    """Every variable Mailrail reads, in capitals: `HOST`, `PORT`, …"""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="the address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="the port to listen on; 0 takes a free one")
    data_dir: Path = Field(BASE_DIR / "var", description="the folder of the database, the secret key and the static files")
    secret_key: SecretStr | None = Field(None, min_length=32, description="signs sessions and tokens; made on first start")
    debug: bool = Field(False, description="Django's debug pages, for development only")
    allowed_hosts: CommaSeparated = Field(
        ["127.0.0.1", "localhost", "[::1]"], description="the host names this server answers to, with commas between"
    )
    csrf_trusted_origins: CommaSeparated = Field(
        [], description="further origins (https://mail.example.com) whose pages may send forms and open sockets"
    )
    public_url: str | None = Field(
        None, description="the address people use, such as https://mail.example.com; https:// means that TLS ends in front of us"
    )
    trusted_proxies: CommaSeparated = Field(
        [],
        description="the addresses or networks of proxies in front, or unix, whose X-Forwarded-For and -Proto are believed",
    )
    database_url: SecretStr | None = Field(
        None, description="sqlite:///path or postgres://user:password@host/name; a file in DATA_DIR if not set"
    )
    email_url: Annotated[SecretStr, NoDecode] = Field(
        SecretStr(MAILBOX_URL),
        description="where mail goes: mailbox:// (it stays here), smtp://, smtp+starttls:// or smtps://user:password@host:port",
    )
    email_backend: str | None = Field(
        None, pattern=r"^\w+(\.\w+)+$", description="the dotted path of a Django e-mail backend, instead of EMAIL_URL"
    )
    default_from_email: str = Field(
        "Mailrail <mailrail@localhost>", pattern=r"^[^\r\n\x00]+$", description="the sender of mail that names none"
    )
    delivery_worker: Literal["in_process", "subprocess", "external"] | None = Field(
        None,
        description="who delivers: `apart`, a process beside the server's (for `serve`, if not set); `true`, the server's own"
        " (for other servers); `false`, `manage.py deliver`",
    )
    retry_delays: Annotated[tuple[timedelta, ...], NoDecode] = Field(
        DEFAULT_RETRY_DELAYS, description="the waits between tries, with commas between: 1m,5m,15m,1h,4h,12h,1d"
    )
    max_request_bytes: int = Field(15 * 1024 * 1024, gt=0, description="bytes that the body of a request may have")
    request_body_timeout: float = Field(
        120.0, gt=0, allow_inf_nan=False, description="seconds that the body of a request may take to come"
    )
    client_write_timeout: float = Field(
        60.0, gt=0, allow_inf_nan=False, description="seconds that a client may leave untaken what it is sent"
    )
    websocket_messages_per_second: int = Field(
        10_000, ge=0, description="messages a second that a socket is read; 0 for any number"
    )
    max_streams_per_caller: int = Field(
        1000, ge=0, description="sockets and streams that a key, a user or an address may have in one process; 0 for any number"
    )
    rate_limit_key: str = Field(UNLIMITED, description="how often one API key may call: 100/second, 6000/minute, or off")
    rate_limit_user: str = Field(UNLIMITED, description="how often one user may call, by token or by session")
    rate_limit_anonymous: str = Field("60000/minute", description="how often one address may call without a good credential")
    rate_limit_login: str = Field("600/minute", description="how often one address, and one user, may ask for an access token")
    redis_url: SecretStr | None = Field(
        None, description="redis://host:6379: where several processes count these together, and hear of each other's events"
    )
    login_max_failures: int = Field(10, ge=0, description="failed logins that lock a user, and an address; 0 for never")
    login_lockout_seconds: int = Field(300, gt=0, description="seconds that they are locked for")
    require_2fa: bool = Field(False, description="whether everybody in the admin needs a code beside the password")
    audit_retention_days: int = Field(400, ge=0, le=36_500, description="days that the audit trail keeps an entry; 0 for ever")
    shutdown_grace: float = Field(
        25.0, ge=0, allow_inf_nan=False, description="seconds that running work has to end after SIGTERM"
    )
    admin_username: str = Field("admin", min_length=1, description="the first administrator, made on first start")
    admin_password: SecretStr | None = Field(None, min_length=1, description="its password; generated and shown once if not set")
    metrics_token: SecretStr | None = Field(None, min_length=16, description="what Prometheus sends to read /api/metrics")
    log_level: LogLevel = Field("INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL")

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
        if strangers := [origin for origin in value if not re.fullmatch(r"https?://[^/]+", origin)]:
            raise ValueError(f"{strangers[0]} is not of the form https://host")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        address = value.rstrip("/")
        if not re.fullmatch(r"https?://[^/?#@\s]+", address) or not urlsplit(address).hostname:
            raise ValueError("it is not of the form https://host")
        return address

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
            raise ValueError("it is not of the form redis://host:6379")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            dj_database_url.parse(value.get_secret_value())
        except (ValueError, KeyError):
            raise ValueError("it is not the URL of a database that Django knows") from None
        return value

    @field_validator("default_from_email")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1]:
            raise ValueError("it holds no e-mail address")
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
        """The host name of `PUBLIC_URL`, as `ALLOWED_HOSTS` has it."""
        host = urlsplit(self.public_url or "").hostname
        return f"[{host}]" if host and ":" in host else host

    @property
    def has_tls(self) -> bool:
        """Whether people reach us over TLS."""
        return self.public_url is not None and self.public_url.startswith("https://")

    def ensure_data_dir(self) -> Path:
        """`DATA_DIR`, made if it is missing, for us alone; and so are the databases in it."""
        folder = self.data_dir.resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _restrict_permissions(folder)
        return folder

    @cached_property
    def resolved_secret_key(self) -> str:
        """`SECRET_KEY`, or the one that the first start wrote to `DATA_DIR/secret_key`."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        path = self.ensure_data_dir() / "secret_key"
        if not path.exists():
            _write_once(path, secrets.token_urlsafe(50))
        return path.read_text().strip()


def read_environment() -> Environment:
    """The environment of this process. Exits, naming each variable and what it wants, if one does not fit."""
    try:
        return Environment()
    except ValidationError as error:
        raise SystemExit("\n".join(_error_lines(error))) from None


def _error_lines(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0])
        lines.append(f"{name.upper()}: {problem['msg']}. Wanted: {Environment.model_fields[name].description}.")
    return lines


def _restrict_permissions(folder: Path) -> None:
    # What is written now is (umask), but earlier versions left databases open. The folder stays as it is: it may be shared.
    for file in folder.glob("*.sqlite3*"):
        found = file.stat()
        if found.st_mode & stat.S_IRWXO and found.st_uid == os.geteuid():
            file.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)


def _write_once(path: Path, text: str) -> None:
    # Linked into place when it is whole, so that two processes that start at once agree on the first one's.
    with NamedTemporaryFile("w", dir=path.parent) as draft, suppress(FileExistsError):  # made with mode 600
        draft.write(text)
        draft.flush()
        path.hardlink_to(draft.name)
