"""Variables of the database and of Redis."""

import re

import dj_database_url
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings


class StorageVariables(BaseSettings):
    """Variables of the database and of Redis."""

    database_url: SecretStr | None = Field(
        None, description="postgres://user:password@host/name or sqlite:///path. Defaults to a SQLite file in DATA_DIR."
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis server, such as redis://host:6379: processes share rate limits and notify each other through it."
    )

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
