"""Variables of the database and of Redis."""

import re

import dj_database_url
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

MAX_TIMEOUT = 86_400.0  # seconds


class StorageVariables(BaseSettings):
    """Variables of the database and of Redis."""

    database_url: SecretStr | None = Field(
        None, description="postgres://user:password@host/name or sqlite:///path. Defaults to a SQLite file in DATA_DIR."
    )
    database_connect_timeout: int = Field(
        5, ge=2, le=300, description="Seconds that connecting to PostgreSQL may take, from 2 to 300"
    )
    database_lock_timeout: float | None = Field(
        None, ge=0, le=MAX_TIMEOUT, description="Seconds that a statement may wait for a lock, such as 3"
    )
    database_idle_in_transaction_timeout: float = Field(
        5.0, ge=0, le=MAX_TIMEOUT, description="Seconds that a PostgreSQL transaction may wait for its next statement, such as 5"
    )
    database_statement_timeout: float = Field(
        30.0, ge=0, le=MAX_TIMEOUT, description="Seconds that one statement may take in PostgreSQL, such as 30"
    )
    database_notify_url: SecretStr | None = Field(
        None,
        description="postgres:// URL of a direct connection for LISTEN and NOTIFY, if DATABASE_URL leads to PgBouncer; off"
        " disables them.",
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis server, such as redis://host:6379: hosts share rate limits and notify each other through it."
    )

    @field_validator("database_notify_url")
    @classmethod
    def _check_notify_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"off$|postgres(ql)?://.", value.get_secret_value()):
            raise ValueError("it must look like postgres://user:password@host/name, or be off")
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
