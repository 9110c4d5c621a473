"""The environment as one typed, validated object. An invalid value aborts startup with an error that names the variable."""

import secrets
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from project.config.data_dir import restrict_database_permissions, write_if_missing
from project.config.email_url import Relay, parse_email_urls
from project.config.secret_files import SUFFIX, SecretFileError, SecretFilesSource, comes_from_file
from project.config.variables.accounts import AccountVariables
from project.config.variables.content import ContentVariables
from project.config.variables.delivery import DeliveryVariables
from project.config.variables.limits import LimitVariables
from project.config.variables.retention import RetentionVariables
from project.config.variables.server import ServerVariables
from project.config.variables.storage import StorageVariables


class Environment(
    RetentionVariables, AccountVariables, LimitVariables, ContentVariables, DeliveryVariables, StorageVariables, ServerVariables
):
    """All environment variables that Mailrail reads. Their names are in upper case: `HOST`, `PORT`, …"""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(  # the name and the parameters are those of pydantic-settings
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read secrets from files too (project.config.secret_files)."""
        return init_settings, SecretFilesSource(settings_cls), env_settings, dotenv_settings, file_secret_settings

    @cached_property
    def relays(self) -> tuple[Relay, ...]:
        """The SMTP servers of `EMAIL_URL` in failover order. None for the embedded mailbox."""
        return parse_email_urls(self.email_url.get_secret_value())

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
    except SecretFileError as error:
        raise SystemExit("\n".join(error.lines)) from None
    except ValidationError as error:
        raise SystemExit("\n".join(_error_lines(error))) from None


def _error_lines(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0])
        reason = problem["msg"].removeprefix("Value error, ")
        variable = f"{name.upper()}{SUFFIX}" if comes_from_file(name) else name.upper()
        lines.append(f"{variable}: {reason}. Expected: {Environment.model_fields[name].description}")
    return lines
