"""Request and response models of the email routes."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from fastapi_app.emails.fields import (
    MAX_RECIPIENTS,
    Base64Content,
    Headers,
    Mailbox,
    MediaType,
    Recipients,
    ReplyTo,
    ScheduledTime,
    SingleLine,
    Tag,
    TagKey,
    Text,
    To,
    one_or_many,
)
from fastapi_app.fields import EXAMPLE_TIME
from fastapi_app.pagination import CursorPage
from fastapi_app.problems import EACH_ITEM, max_items, max_keys
from fastapi_app.request_model import RequestModel
from fastapi_app.templates.schemas import Slug, Variables
from project.emails.mime.builder import Attachment, Draft
from project.emails.priority import Priority
from project.emails.status import Status

MAX_HEADERS = MAX_TAGS = 50
MAX_ATTACHMENTS = 1000
MAX_ATTACHMENT_BYTES = 10 * 1024 * 1024  # of all attachments of an email together, decoded
MAX_BATCH_SIZE = 1000
EXPENSIVE_LENGTH = 8 * 1024  # characters of text and HTML

EXAMPLE: dict[str, JsonValue] = {
    "from": "Shop <shop@example.com>",
    "to": "ada@example.com",
    "subject": "Your order",
    "text": "It is on its way.",
    "tags": {"order": "42"},
}

EXAMPLE_REASON = "550 5.1.1 …: No such user"


class AttachmentIn(RequestModel):
    """A file to attach. It is an inline image if the HTML refers to its `content_id` as `cid:…`."""

    filename: Annotated[SingleLine, Field(min_length=1, max_length=255, examples=["invoice.pdf"])]
    content: Base64Content = Field(description="Content of the file in Base64", examples=["JVBERi0xLjcK"])
    content_type: MediaType | None = Field(
        None,
        description="Media type. If omitted, the file name decides. The first `text/calendar` with a `method`, such as "
        "`text/calendar; method=REQUEST`, is sent as an invitation: a version of the text, not a file.",
        examples=["application/pdf"],
    )
    content_id: Annotated[str, Field(pattern="^[a-zA-Z0-9.@+_-]+$", max_length=250)] | None = Field(
        None, description="Content ID for an inline image, used in the HTML as `cid:logo`", examples=["logo"]
    )


class EmailIn(RequestModel):
    """An email to send. `to`, `cc` and `bcc` together may have up to 50 addresses."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    sender: Mailbox = Field(
        alias="from", description="Sender address, optionally with a display name", examples=["Shop <shop@example.com>"]
    )
    to: Annotated[To, one_or_many(To)] = Field(description="Recipient addresses", examples=[["ada@example.com"]])
    cc: Annotated[Recipients, one_or_many(Recipients)] = Field(
        [], description="Cc addresses", examples=[["Bob <bob@example.com>"]]
    )
    bcc: Annotated[Recipients, one_or_many(Recipients)] = Field(
        [], description="Bcc addresses. They are not written into the message.", examples=[["archive@example.com"]]
    )
    reply_to: Annotated[ReplyTo, one_or_many(ReplyTo)] = Field(
        [], description="Reply-To addresses", examples=[["help@example.com"]]
    )
    subject: SingleLine = Field("", examples=["Your order"])
    text: Text | None = Field(
        None,
        description="Plain text version. If omitted, it is generated from the HTML version.",
        examples=["It is on its way."],
    )
    html: Text | None = Field(None, description="HTML version", examples=["<p>It is <b>on its way</b>.</p>"])
    headers: Annotated[Headers, max_keys(MAX_HEADERS)] = Field(
        {},
        max_length=MAX_HEADERS,
        description="Custom headers. Headers that the service sets, such as `Date` or `Message-ID`, are rejected.",
        examples=[{"X-Thing": "1"}],
    )
    tags: Annotated[dict[TagKey, Tag], max_keys(MAX_TAGS)] = Field(
        {},
        max_length=MAX_TAGS,
        description="Key-value pairs to find emails by, not visible to recipients",
        examples=[{"order": "42"}],
    )
    attachments: Annotated[list[AttachmentIn], EACH_ITEM, max_items(MAX_ATTACHMENTS)] = Field(
        [],
        max_length=MAX_ATTACHMENTS,
        description="Files to attach, up to 10 MiB together",
        examples=[[{"filename": "invoice.pdf", "content": "JVBERi0xLjcK"}]],
    )
    template: Slug | None = Field(
        None,
        description="Template that renders each of subject, text and html that the request does not contain",
        examples=["welcome"],
    )
    variables: Variables = Field({}, description="Variables for the template", examples=[{"name": "Ada"}])
    scheduled_at: ScheduledTime | None = Field(
        None, description="Time to send the email, up to 30 days ahead. If omitted, it is sent now.", examples=[EXAMPLE_TIME]
    )
    priority: Priority = Field(Priority.NORMAL, description="Emails are sent by priority, `normal` if omitted", examples=["high"])

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.text is None and self.html is None and self.template is None:
            raise ValueError("Provide at least one of text, html or template.")
        if self.variables and self.template is None:
            raise ValueError("Provide variables only together with a template.")
        if len(self.to) + len(self.cc) + len(self.bcc) > MAX_RECIPIENTS:
            raise ValueError(f"An email can have up to {MAX_RECIPIENTS} recipients.")
        if sum(len(attachment.content) for attachment in self.attachments) > MAX_ATTACHMENT_BYTES:
            raise ValueError(f"All attachments together can have up to {MAX_ATTACHMENT_BYTES} bytes.")
        return self

    def is_expensive(self) -> bool:
        """Return whether the email takes so much work that its quota is checked first."""
        length = len(self.html or "") + len(self.text or "")
        return self.template is not None or bool(self.attachments) or length > EXPENSIVE_LENGTH

    def draft(self) -> Draft:
        """Return the content of the email, for the MIME builder."""
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
    """Receipt for an accepted email: it is stored, and will be sent."""

    id: UUID = Field(description="ID of the email", examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])
    status: Status = Field(examples=["queued"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])


class EmailBatch(RequestModel):
    """Emails to send, all or none."""

    emails: Annotated[list[EmailIn], EACH_ITEM, max_items(MAX_BATCH_SIZE)] = Field(
        min_length=1, max_length=MAX_BATCH_SIZE, examples=[[EXAMPLE, EXAMPLE | {"to": "bob@example.com"}]]
    )


class BatchAccepted(BaseModel):
    """Receipts for the emails of a batch, in the order of the request."""

    data: list[EmailAccepted]


class RecipientOut(BaseModel):
    """Delivery status of one recipient."""

    address: str = Field(examples=["ada@example.com"])
    status: Status = Field(examples=["sent"])
    smtp_code: int | None = Field(
        description="SMTP reply code for this recipient only. Replies to the whole email are in its events.", examples=[550]
    )
    response: str | None = Field(description="Text of that SMTP reply", examples=["5.1.1 No such user"])
    finished_at: datetime | None = Field(
        None, description="Time of the recipient's final result; null while it is pending", examples=["2026-12-01T09:00:02Z"]
    )


class TemplateRef(BaseModel):
    """The template version that an email was rendered from."""

    model_config = ConfigDict(from_attributes=True)

    slug: str = Field(examples=["welcome"])
    version: int = Field(examples=[3])


class EmailOut(BaseModel):
    """An email with its delivery status."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    id: UUID = Field(description="ID of the email", examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])
    status: Status = Field(examples=["sent"])
    priority: Priority = Field(examples=["normal"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    sender: str = Field(serialization_alias="from", examples=["Shop <shop@example.com>"])
    to: list[str] = Field(examples=[["ada@example.com"]])
    cc: list[str] = Field(examples=[["Bob <bob@example.com>"]])
    bcc: list[str] = Field(examples=[[]])
    reply_to: list[str] = Field(examples=[["help@example.com"]])
    recipients: list[RecipientOut] = Field(
        validation_alias="recipient_statuses", description="Every address of to, cc and bcc with its delivery status"
    )
    subject: str = Field(examples=["Your order"])
    tags: dict[str, str] = Field(examples=[{"order": "42"}])
    template: TemplateRef | None = Field(examples=[{"slug": "welcome", "version": 3}])
    message_id: str = Field(
        description="Message-ID header of the email", examples=["<01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e@example.com>"]
    )
    attempts: int = Field(description="Number of delivery attempts so far", examples=[1])
    last_error: str = Field(description="Error of the last finished attempt. Empty if there was no error.", examples=[""])
    relay: str | None = Field(description="The relay of the last finished attempt", examples=["relay.example.com:587"])
    reason: str | None = Field(
        description="Cause of the last failure: the relay's reply, with `…` for addresses, host names, numbers and ids. "
        "Emails that failed for the same cause have the same reason.",
        examples=[EXAMPLE_REASON],
    )
    resent_from: UUID | None = Field(
        validation_alias="resent_from_id", description="ID of the email that was sent again as this email", examples=[None]
    )
    request_id: str | None = Field(description="`X-Request-ID` of the submitting request", examples=["checkout-4711"])
    scheduled_at: datetime | None = Field(description="Time requested for sending", examples=[EXAMPLE_TIME])
    next_attempt_at: datetime | None = Field(description="Time of the next attempt, if it is scheduled", examples=[None])
    sent_at: datetime | None = Field(
        description="When the relay first accepted the email for a recipient", examples=["2026-12-01T09:00:02Z"]
    )


class EmailPage(CursorPage[EmailOut]):
    """One page of emails. Pass `next` as `after` to get the next page; it is null only on the last page."""

    next: str | None = Field(examples=["01930c5e-7e0a-7b3c-8f00-000000000000"])


class RescheduleRequest(RequestModel):
    """A new time for a scheduled email."""

    scheduled_at: ScheduledTime = Field(description="New time to send the email, up to 30 days ahead", examples=[EXAMPLE_TIME])
