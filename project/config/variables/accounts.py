"""Variables of users, logins and the audit trail."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from project.config.durations import parse_duration

MAX_SESSION_AGE = timedelta(days=365)
MIN_SECRET_KEY_LENGTH = 32  # characters


class AccountVariables(BaseSettings):
    """Variables of users, logins and the audit trail."""

    secret_key: SecretStr | None = Field(
        None,
        min_length=MIN_SECRET_KEY_LENGTH,
        description="Signs sessions and access tokens, at least 32 characters. Generated on first start.",
    )
    secret_key_fallbacks: Annotated[list[SecretStr], NoDecode] = Field(
        [],
        description="Earlier values of SECRET_KEY, separated by commas or line breaks, at least 32 characters each. Their"
        " sessions and tokens stay valid.",
    )
    session_max_age: Annotated[timedelta, NoDecode] = Field(
        timedelta(hours=12), description="Time after a login when the session ends, such as 12h or 7d."
    )
    session_idle_timeout: Annotated[timedelta, NoDecode] = Field(
        timedelta(minutes=30), description="Time without activity after which a session ends, such as 30m. 0s means unlimited."
    )
    login_max_failures: int = Field(
        10,
        ge=0,
        description="Failed logins of a user from one IP address or one known device that lock further logins from there."
        " 0 disables the lockout.",
    )
    login_max_failures_per_user: int = Field(
        100,
        ge=0,
        description="Failed logins of a user from all IP addresses together that lock the user, except on known devices."
        " 0 means unlimited.",
    )
    login_max_failures_per_address: int = Field(
        100, ge=0, description="Failed logins of all users from one IP address that lock the IP address. 0 means unlimited."
    )
    login_lockout_seconds: int = Field(300, gt=0, description="Duration of the lockout, in seconds.")
    require_2fa: bool = Field(False, description="Require two-factor login for all users who have a permission.")
    admin_username: str = Field("admin", min_length=1, description="Username of the first administrator, created on first start.")
    admin_password: SecretStr | None = Field(
        None, min_length=1, description="Password of the first administrator. Generated and shown once if not set."
    )

    @field_validator("session_max_age", "session_idle_timeout", mode="before")
    @classmethod
    def _parse_duration(cls, value: object) -> object:
        return parse_duration(value, maximum=MAX_SESSION_AGE) if isinstance(value, str) else value

    @field_validator("session_max_age")
    @classmethod
    def _check_max_age(cls, value: timedelta) -> timedelta:
        if not value:
            raise ValueError("it must be more than 0s")
        return value

    @field_validator("secret_key_fallbacks", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return [key.strip() for key in re.split(r"[,\r\n]", value) if key.strip()] if isinstance(value, str) else value

    @field_validator("secret_key_fallbacks")
    @classmethod
    def _check_keys(cls, value: list[SecretStr]) -> list[SecretStr]:
        if any(len(key) < MIN_SECRET_KEY_LENGTH for key in value):
            raise ValueError(f"each key must have at least {MIN_SECRET_KEY_LENGTH} characters")
        return value
