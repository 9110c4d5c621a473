"""Field types of the email routes: addresses, headers, tags, attachments and times, with their limits."""

import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Encoder,
    BeforeValidator,
    EncodedBytes,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from fastapi_app.fields import reject_nul
from project.emails.mime.builder import MAX_MEDIA_TYPE_LENGTH, MEDIA_TYPE
from project.emails.mime.custom_headers import MAX_HEADER_LENGTH, check_header_name, check_headers, format_header
from project.emails.mime.email_addresses import MAX_MAILBOX_LENGTH, normalize_mailbox, parse_mailboxes
from project.emails.mime.headers import check_displayed, check_text
from project.emails.mime.pieces import PIECE_LENGTH, pieces

MAX_RECIPIENTS = 50  # also of reply_to
MAX_MAILBOXES_LENGTH = MAX_RECIPIENTS * (MAX_MAILBOX_LENGTH + 2)  # each with a comma and a space
_BASE64_PIECE = PIECE_LENGTH // 3 * 3  # three bytes become four characters
MAX_SCHEDULE_AHEAD = timedelta(days=30)


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("Header names must be unique, regardless of case.")
    problems = list[InitErrorDetails]()
    for name, value in headers.items():
        try:
            format_header(name, value)
        except ValueError as error:
            problems.append(_problem(error, loc=(name,), value=value))
    if problems:
        raise ValidationError.from_exception_data("headers", problems)
    check_headers(headers)
    return headers


def _problem(error: ValueError, *, loc: tuple[str | int, ...], value: str) -> InitErrorDetails:
    reason = PydanticCustomError("value_error", "Value error, {error}", {"error": str(error)})
    return InitErrorDetails(type=reason, loc=loc, input=value)


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
    """Return a validator that also accepts addresses in one string where a list is expected."""
    return BeforeValidator(_as_list, json_schema_input_type=Mailboxes | many)


def _parse_mailboxes(texts: list[str]) -> list[str]:
    """Return all mailboxes of the texts. Stops at the first mailbox beyond the maximum."""
    mailboxes, problems = list[str](), list[InitErrorDetails]()
    for index, text in enumerate(texts):
        try:
            mailboxes += parse_mailboxes(text, limit=MAX_RECIPIENTS - len(mailboxes))
        except ValueError as error:
            problems.append(_problem(error, loc=(index,), value=text))
        if len(mailboxes) > MAX_RECIPIENTS:
            raise PydanticCustomError("too_long", f"At most {MAX_RECIPIENTS} addresses are allowed.")
    if problems:
        raise ValidationError.from_exception_data("addresses", problems)
    return mailboxes


def _require_address(mailboxes: list[str]) -> list[str]:
    if not mailboxes:
        raise PydanticCustomError("too_short", "At least one address is required.")
    return mailboxes


class _Base64(Base64Encoder):
    """Base64 with padding, with or without line breaks. Pydantic's own encoder ignores invalid characters.

    Long files are decoded and encoded in pieces, so that other threads can run meanwhile.
    """

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        """Return the decoded octets. Raises ValueError."""
        *first, last = list(pieces(b"".join([piece.translate(None, b"\r\n") for piece in pieces(data)]))) or [b""]
        if any(piece.endswith(b"=") for piece in first):
            raise ValueError("Excess data after padding")
        return b"".join([binascii.a2b_base64(piece, strict_mode=True) for piece in (*first, last)])

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """Return the octets in Base64, without line breaks."""
        starts = range(0, len(value), _BASE64_PIECE)
        return b"".join([binascii.b2a_base64(value[start : start + _BASE64_PIECE], newline=False) for start in starts])


MAILBOX_SCHEMA = {"type": "string", "format": "mailbox", "maxLength": MAX_MAILBOX_LENGTH, "examples": ["Ada <ada@example.com>"]}
MAILBOXES_SCHEMA = MAILBOX_SCHEMA | {"format": "mailbox-list", "maxLength": MAX_MAILBOXES_LENGTH}
Mailbox = Annotated[str, Field(max_length=MAX_MAILBOX_LENGTH), AfterValidator(normalize_mailbox), WithJsonSchema(MAILBOX_SCHEMA)]
Mailboxes = Annotated[str, Field(max_length=MAX_MAILBOXES_LENGTH), WithJsonSchema(MAILBOXES_SCHEMA)]
# to, cc and bcc together have one limit. Each single list has the same limit, so that a list that is too long is rejected
# before its addresses are parsed.
Recipients = Annotated[list[Mailboxes], Field(max_length=MAX_RECIPIENTS), AfterValidator(_parse_mailboxes)]
To = Annotated[
    list[Mailboxes],
    Field(min_length=1, max_length=MAX_RECIPIENTS),
    AfterValidator(_parse_mailboxes),
    AfterValidator(_require_address),
]
ReplyTo = Recipients
SingleLine = Annotated[str, Field(max_length=998), AfterValidator(check_displayed)]
Text = Annotated[str, AfterValidator(reject_nul), AfterValidator(check_text)]
HeaderName = Annotated[str, Field(pattern="^[!-9;-~]{1,76}$"), AfterValidator(check_header_name)]
HeaderValue = Annotated[str, Field(max_length=MAX_HEADER_LENGTH)]
Headers = Annotated[dict[HeaderName, HeaderValue], AfterValidator(_check_headers)]
Tag = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(check_displayed)]
TagKey = Annotated[str, Field(pattern="^[^:]{1,100}$"), AfterValidator(check_displayed)]  # no colon, because of ?tag=key:value
MediaType = Annotated[str, Field(pattern=f"^{MEDIA_TYPE}$", max_length=MAX_MEDIA_TYPE_LENGTH)]
Base64Content = Annotated[bytes, EncodedBytes(encoder=_Base64)]
ScheduledTime = Annotated[AwareDatetime, BeforeValidator(_require_rfc3339), AfterValidator(_check_schedule)]
