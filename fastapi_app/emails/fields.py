"""Field types of the email routes: addresses, headers, tags, attachments and times, with their limits."""

import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Base64Encoder, BeforeValidator, EncodedBytes, Field, WithJsonSchema

from fastapi_app.fields import reject_nul
from project.emails.mime.builder import MAX_MEDIA_TYPE_LENGTH, MEDIA_TYPE
from project.emails.mime.email_addresses import normalize_mailbox
from project.emails.mime.headers import check_header, check_line, check_text

MAX_RECIPIENTS = MAX_REPLY_TO = 50
MAX_MAILBOX_LENGTH = 320
MAX_SCHEDULE_AHEAD = timedelta(days=30)


def _normalize_mailbox(text: str) -> str:
    mailbox = normalize_mailbox(text)
    if len(mailbox) > MAX_MAILBOX_LENGTH:  # normalization may add quotes, and writes the domain in ASCII
        raise ValueError(f"The address is longer than {MAX_MAILBOX_LENGTH} characters after normalization.")
    return mailbox


def _check_header_name(name: str) -> str:
    check_header(name, "")
    return name


def _require_unique_names(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("Header names must be unique, regardless of case.")
    return headers


def _require_rfc3339(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and ":" in value):
        return value
    raise ValueError("Use a time like 2026-12-01T09:00:00Z.")  # Pydantic would also accept seconds since 1970


def _check_schedule(at: datetime) -> datetime:
    try:
        utc = at.astimezone(UTC)
    except OverflowError:
        raise ValueError("The time must be within the years 1 to 9999 in UTC.") from None
    if utc > datetime.now(UTC) + MAX_SCHEDULE_AHEAD:
        raise ValueError(f"An email can be scheduled up to {MAX_SCHEDULE_AHEAD.days} days ahead.")
    return utc


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def one_or_many(many: Any) -> BeforeValidator:
    """Return a validator that also accepts one address as a string where a list is expected."""
    return BeforeValidator(_as_list, json_schema_input_type=Mailbox | many)


class _Base64(Base64Encoder):
    """Base64 with padding, with or without line breaks. Pydantic's own encoder ignores invalid characters."""

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        """Return the decoded octets. Raises ValueError."""
        return binascii.a2b_base64(data.translate(None, b"\r\n"), strict_mode=True)


MAILBOX_SCHEMA = {"type": "string", "format": "mailbox", "maxLength": MAX_MAILBOX_LENGTH, "examples": ["Ada <ada@example.com>"]}
Mailbox = Annotated[str, Field(max_length=MAX_MAILBOX_LENGTH), AfterValidator(_normalize_mailbox), WithJsonSchema(MAILBOX_SCHEMA)]
# to, cc and bcc together have one limit. Each single list has the same limit, so that a list that is too long is rejected
# before its addresses are parsed.
Recipients = Annotated[list[Mailbox], Field(max_length=MAX_RECIPIENTS)]
To = Annotated[Recipients, Field(min_length=1)]
ReplyTo = Annotated[list[Mailbox], Field(max_length=MAX_REPLY_TO)]
SingleLine = Annotated[str, Field(max_length=998), AfterValidator(check_line)]
Text = Annotated[str, AfterValidator(reject_nul), AfterValidator(check_text)]
HeaderName = Annotated[str, Field(pattern="^[!-9;-~]{1,76}$"), AfterValidator(_check_header_name)]
Headers = Annotated[dict[HeaderName, SingleLine], AfterValidator(_require_unique_names)]
Tag = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(check_line)]
TagKey = Annotated[str, Field(pattern="^[^:]{1,100}$"), AfterValidator(check_line)]  # no colon, because of ?tag=key:value
MediaType = Annotated[str, Field(pattern=f"^{MEDIA_TYPE}$", max_length=MAX_MEDIA_TYPE_LENGTH)]
Base64Content = Annotated[bytes, EncodedBytes(encoder=_Base64)]
ScheduledTime = Annotated[AwareDatetime, BeforeValidator(_require_rfc3339), AfterValidator(_check_schedule)]
