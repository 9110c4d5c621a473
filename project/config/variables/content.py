"""Variables of the content of emails: addresses and headers."""

import re

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from project.config.variables.types import CommaSeparated


class ContentVariables(BaseSettings):
    """Variables of the content of emails."""

    allowed_relay_headers: CommaSeparated = Field(
        [],
        description="Headers with commands for the relay that callers may set, separated by commas, such as"
        " X-PM-Tag,X-SES-*. A final * stands for any end.",
    )

    allow_internal_domains: bool = Field(
        False, description="Accept email addresses whose domain is internal: localhost, printer.local, or a single name."
    )
    allow_quoted_local_parts: bool = Field(
        False,
        description="Accept email addresses with a quoted part before the @, or with dots in unusual places, such as"
        " a..b@docomo.ne.jp.",
    )

    @field_validator("allowed_relay_headers", mode="before")
    @classmethod
    def _split_headers(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("allowed_relay_headers")
    @classmethod
    def _check_names(cls, value: list[str]) -> list[str]:
        if invalid := [name for name in value if not re.fullmatch(r"[!-)+-9;-~]{1,76}\*?", name)]:
            raise ValueError(f"{invalid[0]} is not a header name")
        return value
