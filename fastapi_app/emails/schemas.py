"""The shapes of the e-mail routes: what may be asked for, and what is told."""

import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Encoder,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EncodedBytes,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from fastapi_app.fields import EXAMPLE_TIME, reject_nul
from fastapi_app.pagination import CursorPage
from fastapi_app.templates.schemas import Slug, Variables
from project.emails.mime.builder import MAX_MEDIA_TYPE_LENGTH, MEDIA_TYPE, Attachment, Draft
from project.emails.mime.email_addresses import normalize_mailbox
from project.emails.mime.headers import check_header, check_line, check_text
from project.emails.status import Status

MAX_RECIPIENTS = MAX_REPLY_TO = 50
MAX_ATTACHMENTS = 1000
MAX_MAILBOX_LENGTH = 320
MAX_BATCH_SIZE = 1000
MAX_ATTACHMENT_BYTES = 10 * 1024 * 1024  # decoded, together
MAX_SCHEDULE_AHEAD = timedelta(days=30)


def _normalize_mailbox(text: str) -> str:
    mailbox = normalize_mailbox(text)
    if len(mailbox) > MAX_MAILBOX_LENGTH:  # now that its name is quoted and its domain in ASCII
        raise ValueError(f"its normal form is longer than {MAX_MAILBOX_LENGTH} characters")
    return mailbox


def _header_name(name: str) -> str:
    check_header(name, "")
    return name


def _require_unique_names(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header comes twice, in upper case and lower")
    return headers


def _require_rfc3339(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and ":" in value):
        return value
    raise ValueError("a time is written like 2026-12-01T09:00:00Z")  # Pydantic also takes seconds since 1970


def _check_schedule(at: datetime) -> datetime:
    try:
        utc = at.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time lies in the years 1 to 9999 in UTC") from None
    if utc > datetime.now(UTC) + MAX_SCHEDULE_AHEAD:
        raise ValueError(f"a mail is scheduled up to {MAX_SCHEDULE_AHEAD.days} days ahead")
    return utc


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _accepts_single(many: Any) -> BeforeValidator:
    return BeforeValidator(_as_list, json_schema_input_type=Mailbox | many)


class _Base64(Base64Encoder):
    """Base64 with its padding, in lines or not, and nothing else: Pydantic's own leaves out what it does not know."""

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        """The octets. Raises ValueError."""
        return binascii.a2b_base64(data.translate(None, b"\r\n"), strict_mode=True)


EXAMPLE: dict[str, JsonValue] = {
    "from": "Shop <shop@example.com>",
    "to": "ada@example.com",
    "subject": "Your order",
    "text": "It is on its way.",
    "tags": {"order": "42"},
}
MAILBOX_SCHEMA = {"type": "string", "format": "mailbox", "maxLength": MAX_MAILBOX_LENGTH, "examples": ["Ada <ada@example.com>"]}
Mailbox = Annotated[str, Field(max_length=MAX_MAILBOX_LENGTH), AfterValidator(_normalize_mailbox), WithJsonSchema(MAILBOX_SCHEMA)]
# Though the three are counted together: with a limit of its own, no list is looked through that is too long by itself.
Recipients = Annotated[list[Mailbox], Field(max_length=MAX_RECIPIENTS)]
To = Annotated[Recipients, Field(min_length=1)]
ReplyTo = Annotated[list[Mailbox], Field(max_length=MAX_REPLY_TO)]
SingleLine = Annotated[str, Field(max_length=998), AfterValidator(check_line)]
Text = Annotated[str, AfterValidator(reject_nul), AfterValidator(check_text)]
HeaderName = Annotated[str, Field(pattern="^[!-9;-~]{1,76}$"), AfterValidator(_header_name)]
Tag = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(check_line)]
TagKey = Annotated[str, Field(pattern="^[^:]{1,100}$"), AfterValidator(check_line)]  # it is looked for as `key:value`
MediaType = Annotated[str, Field(pattern=f"^{MEDIA_TYPE}$", max_length=MAX_MEDIA_TYPE_LENGTH)]
ScheduledTime = Annotated[AwareDatetime, BeforeValidator(_require_rfc3339), AfterValidator(_check_schedule)]


class AttachmentIn(BaseModel):
    """A file to send along; inline if html refers to its `content_id` as `cid:…`."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[SingleLine, Field(min_length=1, max_length=255, examples=["invoice.pdf"])]
    content: Annotated[bytes, EncodedBytes(encoder=_Base64)] = Field(examples=["JVBERi0xLjcK"])
    content_type: MediaType = Field("application/octet-stream", examples=["application/pdf"])
    content_id: Annotated[str, Field(pattern="^[a-zA-Z0-9.@+_-]+$", max_length=250)] | None = Field(None, examples=["logo"])


class EmailIn(BaseModel):
    """A mail to send."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    sender: Mailbox = Field(alias="from", examples=["Shop <shop@example.com>"])
    to: Annotated[To, _accepts_single(To)] = Field(examples=[["ada@example.com"]])
    cc: Annotated[Recipients, _accepts_single(Recipients)] = []
    bcc: Annotated[Recipients, _accepts_single(Recipients)] = []
    reply_to: Annotated[ReplyTo, _accepts_single(ReplyTo)] = []
    subject: SingleLine = Field("", examples=["Your order"])
    text: Text | None = Field(None, examples=["It is on its way."])
    html: Text | None = Field(None, examples=["<p>It is <b>on its way</b>.</p>"])
    headers: Annotated[dict[HeaderName, SingleLine], AfterValidator(_require_unique_names)] = Field(
        {}, max_length=50, examples=[{"X-Thing": "1"}]
    )
    tags: dict[TagKey, Tag] = Field({}, max_length=50, examples=[{"order": "42"}])
    attachments: list[AttachmentIn] = Field([], max_length=MAX_ATTACHMENTS)
    template: Slug | None = Field(
        None, description="What to make the subject, text and html of that are not given", examples=["welcome"]
    )
    variables: Variables = Field({}, description="For the template", examples=[{"name": "Ada"}])
    scheduled_at: ScheduledTime | None = Field(None, examples=[EXAMPLE_TIME])

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.text is None and self.html is None and self.template is None:
            raise ValueError("a mail has at least one of text, html and template")
        if self.variables and self.template is None:
            raise ValueError("variables are for a template, and there is none")
        if len(self.to) + len(self.cc) + len(self.bcc) > MAX_RECIPIENTS:
            raise ValueError(f"a mail has up to {MAX_RECIPIENTS} recipients")
        if sum(len(attachment.content) for attachment in self.attachments) > MAX_ATTACHMENT_BYTES:
            raise ValueError(f"attachments have together up to {MAX_ATTACHMENT_BYTES} bytes")
        return self

    def draft(self) -> Draft:
        """What is to be built."""
        return Draft(
            sender=self.sender,
            to=tuple(self.to),
            cc=tuple(self.cc),
            bcc=tuple(self.bcc),
            reply_to=tuple(self.reply_to),
            subject=self.subject,
            text=self.text,
            html=self.html,
            headers=self.headers,
            attachments=tuple(Attachment(**dict(attachment)) for attachment in self.attachments),
        )


class EmailAccepted(BaseModel):
    """It is in the database."""

    id: UUID = Field(examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])
    status: Status = Field(examples=["queued"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])


class EmailBatch(BaseModel):
    """Mails to send, all or none."""

    model_config = ConfigDict(extra="forbid")

    emails: list[EmailIn] = Field(
        min_length=1, max_length=MAX_BATCH_SIZE, examples=[[EXAMPLE, EXAMPLE | {"to": "bob@example.com"}]]
    )


class BatchAccepted(BaseModel):
    """They are in the database, in the order they came."""

    data: list[EmailAccepted]


class RecipientOut(BaseModel):
    """What became of one recipient."""

    address: str = Field(examples=["ada@example.com"])
    status: Status = Field(examples=["sent"])
    smtp_code: int | None = Field(
        description="What the relay said of it alone; what it said of all is in the mail's events", examples=[550]
    )
    response: str | None = Field(examples=["5.1.1 No such user"])


class TemplateRef(BaseModel):
    """The version of a template that a mail was made from."""

    model_config = ConfigDict(from_attributes=True)

    slug: str = Field(examples=["welcome"])
    version: int = Field(examples=[3])


class EmailOut(BaseModel):
    """A mail, and where it is."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    id: UUID = Field(examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])
    status: Status = Field(examples=["sent"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    sender: str = Field(serialization_alias="from", examples=["Shop <shop@example.com>"])
    to: list[str] = Field(examples=[["ada@example.com"]])
    cc: list[str] = Field(examples=[["Bob <bob@example.com>"]])
    bcc: list[str] = Field(examples=[[]])
    reply_to: list[str] = Field(examples=[["help@example.com"]])
    recipients: list[RecipientOut] = Field(validation_alias="recipient_statuses")
    subject: str = Field(examples=["Your order"])
    tags: dict[str, str] = Field(examples=[{"order": "42"}])
    template: TemplateRef | None = Field(examples=[{"slug": "welcome", "version": 3}])
    message_id: str = Field(examples=["<01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e@example.com>"])
    attempts: int = Field(examples=[1])
    last_error: str = Field(examples=[""])
    scheduled_at: datetime | None = Field(examples=[EXAMPLE_TIME])
    next_attempt_at: datetime | None = Field(examples=[None])
    sent_at: datetime | None = Field(examples=["2026-12-01T09:00:02Z"])


class EmailPage(CursorPage[EmailOut]):
    """Some of many. `next` is what the next page comes `after`; null on the last."""

    next: str | None = Field(examples=["01930c5e-7e0a-7b3c-8f00-000000000000"])


class RescheduleRequest(BaseModel):
    """Another time."""

    model_config = ConfigDict(extra="forbid")

    scheduled_at: ScheduledTime = Field(examples=[EXAMPLE_TIME])
