"""Variables of retention: how long data is kept."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from project.config.durations import parse_duration


class RetentionVariables(BaseSettings):
    """Variables of retention: how long data is kept."""

    keep_bodies: Annotated[timedelta, NoDecode] = Field(
        timedelta(days=30),
        description="How long to keep the messages of finished emails with their attachments, such as 30d. 0s means forever.",
    )
    keep_emails: Annotated[timedelta, NoDecode] = Field(
        timedelta(days=365), description="How long to keep finished emails with their events, such as 365d. 0s means forever."
    )
    keep_mailbox: Annotated[timedelta, NoDecode] = Field(
        timedelta(days=30), description="How long to keep messages in the embedded mailbox, such as 30d. 0s means forever."
    )
    audit_retention_days: int = Field(400, ge=0, le=36_500, description="Days to keep audit entries. 0 means forever.")

    @field_validator("keep_bodies", "keep_emails", "keep_mailbox", mode="before")
    @classmethod
    def _parse_duration(cls, value: object) -> object:
        return parse_duration(value) if isinstance(value, str) else value
