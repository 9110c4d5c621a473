"""The shapes of the e-mail routes: what may be asked for, and what is told."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from fastapi_app.fields import storable
from fastapi_app.pages import Page
from fastapi_app.templates.schemas import Slug, Variables
from project.outbox import mime
from project.outbox.addresses import normal_mailbox
from project.outbox.headers import check_header, check_line, check_text
from project.outbox.states import Status

RECIPIENTS = 50
BATCH = 1000
ATTACHED_BYTES = 10 * 1024 * 1024  # decoded, together
AHEAD = timedelta(days=30)


def _header_name(name: str) -> str:
    check_header(name, "")
    return name


def _written_out(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and ":" in value):
        return value
    raise ValueError("a time is written like 2026-12-01T09:00:00Z")  # Pydantic also takes seconds since 1970


def _in_time(at: datetime) -> datetime:
    if at > datetime.now(UTC) + AHEAD:
        raise ValueError(f"a mail is scheduled up to {AHEAD.days} days ahead")
    return at


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


MAILBOX_SCHEMA = {"type": "string", "format": "mailbox", "maxLength": 320, "examples": ["Ada <ada@example.com>"]}
Mailbox = Annotated[str, Field(max_length=320), AfterValidator(normal_mailbox), WithJsonSchema(MAILBOX_SCHEMA)]
Mailboxes = Annotated[list[Mailbox], BeforeValidator(_as_list)]
Line = Annotated[str, Field(max_length=998), AfterValidator(check_line)]
Text = Annotated[str, AfterValidator(storable), AfterValidator(check_text)]
HeaderName = Annotated[str, Field(pattern="^[!-9;-~]{1,76}$"), AfterValidator(_header_name)]
Tag = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(check_line)]
MediaType = Annotated[str, Field(pattern="^[a-zA-Z0-9.+_-]+/[a-zA-Z0-9.+_-]+$", max_length=127)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_time)]


class AttachmentIn(BaseModel):
    """A file to send along; inline if html refers to its `content_id` as `cid:…`."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[Line, Field(min_length=1, max_length=255, examples=["invoice.pdf"])]
    content: Base64Bytes
    content_type: MediaType = "application/octet-stream"
    content_id: Annotated[str, Field(pattern="^[a-zA-Z0-9.@+_-]+$", max_length=250)] | None = None


class EmailIn(BaseModel):
    """A mail to send."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    sender: Mailbox = Field(alias="from", examples=["Shop <shop@example.com>"])
    to: Mailboxes = Field(min_length=1, examples=[["ada@example.com"]])
    cc: Mailboxes = []
    bcc: Mailboxes = []
    reply_to: Mailboxes = []
    subject: Line = Field("", examples=["Your order"])
    text: Text | None = Field(None, examples=["It is on its way."])
    html: Text | None = None
    headers: dict[HeaderName, Line] = Field({}, max_length=50)
    tags: dict[Tag, Tag] = Field({}, max_length=50, examples=[{"order": "42"}])
    attachments: list[AttachmentIn] = []
    template: Slug | None = Field(None, description="What to make the subject, text and html of that are not given")
    variables: Variables = Field({}, description="For the template")
    scheduled_at: Moment | None = None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.text is None and self.html is None and self.template is None:
            raise ValueError("a mail has at least one of text, html and template")
        if self.variables and self.template is None:
            raise ValueError("variables are for a template, and there is none")
        if len(self.to) + len(self.cc) + len(self.bcc) > RECIPIENTS:
            raise ValueError(f"a mail has up to {RECIPIENTS} recipients")
        if sum(len(attachment.content) for attachment in self.attachments) > ATTACHED_BYTES:
            raise ValueError(f"attachments have together up to {ATTACHED_BYTES} bytes")
        return self

    def draft(self) -> mime.Draft:
        """What is to be built."""
        return mime.Draft(
            sender=self.sender,
            to=tuple(self.to),
            cc=tuple(self.cc),
            bcc=tuple(self.bcc),
            reply_to=tuple(self.reply_to),
            subject=self.subject,
            text=self.text,
            html=self.html,
            headers=self.headers,
            attachments=tuple(mime.Attachment(**dict(attachment)) for attachment in self.attachments),
        )


class EmailAccepted(BaseModel):
    """It is in the database."""

    id: UUID = Field(examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])
    status: Status = Field(examples=["queued"])
    created_at: datetime


class Batch(BaseModel):
    """Mails to send, all or none."""

    model_config = ConfigDict(extra="forbid")

    emails: list[EmailIn] = Field(min_length=1, max_length=BATCH)


class BatchAccepted(BaseModel):
    """They are in the database, in the order they came."""

    data: list[EmailAccepted]


class RecipientOut(BaseModel):
    """What became of one recipient."""

    address: str = Field(examples=["ada@example.com"])
    status: Status = Field(examples=["sent"])
    smtp_code: int | None = Field(description="What the relay said of it, if it said anything", examples=[550])
    response: str | None = Field(examples=["5.1.1 No such user"])


class Origin(BaseModel):
    """The version of a template that a mail was made from."""

    model_config = ConfigDict(from_attributes=True)

    slug: str = Field(examples=["welcome"])
    version: int = Field(examples=[3])


class EmailOut(BaseModel):
    """A mail, and where it is."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    id: UUID = Field(examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])
    status: Status = Field(examples=["sent"])
    created_at: datetime
    sender: str = Field(serialization_alias="from")
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    recipients: list[RecipientOut] = Field(validation_alias="ends")
    subject: str
    tags: dict[str, str]
    template: Origin | None
    message_id: str
    attempts: int
    last_error: str
    scheduled_at: datetime | None
    next_attempt_at: datetime | None
    sent_at: datetime | None


class EmailPage(Page[EmailOut]):
    """Some of many. `next` is what the next page comes `after`; null on the last."""

    next: str | None = Field(examples=["01930c5e-7e0a-7b3c-8f00-000000000000"])


class Reschedule(BaseModel):
    """Another time."""

    model_config = ConfigDict(extra="forbid")

    scheduled_at: Moment = Field(examples=["2026-12-01T09:00:00Z"])
