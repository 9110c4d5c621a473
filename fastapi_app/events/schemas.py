"""Models of events (one union, tagged by `type`, for lists, the stream and the WebSocket) and of the WebSocket's messages."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from fastapi_app.fields import EXAMPLE_TIME
from fastapi_app.pagination import CursorPage
from fastapi_app.request_model import RequestModel
from project.emails.status import Status

TYPES = tuple(f"email.{status}" for status in Status)


class RecipientRejection(BaseModel):
    """The relay's reply for a recipient that it rejected."""

    smtp_code: int = Field(examples=[550])
    response: str = Field(examples=["5.1.1 No such user"])


class EventData(BaseModel):
    """The email at the time of the event."""

    email_id: UUID = Field(examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])
    status: Status = Field(examples=["sent"])
    to: list[str] = Field(description="All recipients, including cc and bcc", examples=[["ada@example.com"]])
    subject: str = Field(examples=["Your order"])
    tags: dict[str, str] = Field(examples=[{"order": "42"}])
    attempt: int = Field(description="Number of delivery attempts so far", examples=[1])
    smtp_code: int | None = Field(description="The relay's reply code, if it replied", examples=[250])
    response: str | None = Field(description="The text of the relay's reply", examples=["2.0.0 Ok: queued as 4D2C11"])
    relay: str | None = Field(None, description="Relay that the attempt used. Missing without a result", examples=["smtp1:25"])
    recipients: list[str] = Field(
        [], description="The recipients that the event is about. Missing if it is about all recipients", examples=[[]]
    )
    refused: dict[str, RecipientRejection] = Field({}, description="All recipients that the relay rejected in this attempt")
    suppressed: list[str] = Field([], description="Recipients that were skipped because they are on the suppression list")


class _Event(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="Increases with each event", examples=[123])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    data: EventData


class EmailScheduled(_Event):
    """The email will be sent at its scheduled time."""

    type: Literal["email.scheduled"]


class EmailQueued(_Event):
    """The email is waiting to be sent."""

    type: Literal["email.queued"]


class EmailSending(_Event):
    """A delivery attempt has started."""

    type: Literal["email.sending"]


class EmailDelayed(_Event):
    """The attempt failed for the recipients of this event; the email will be retried."""

    type: Literal["email.delayed"]


class EmailSent(_Event):
    """The relay accepted the email for the recipients of this event."""

    type: Literal["email.sent"]


class EmailFailed(_Event):
    """Delivery to the recipients of this event failed, and will not be retried."""

    type: Literal["email.failed"]


class EmailBounced(_Event):
    """The relay reported that the addresses of all recipients of this event do not exist. Suppressed recipients do not count."""

    type: Literal["email.bounced"]


class EmailCanceled(_Event):
    """The email was canceled before it was sent."""

    type: Literal["email.canceled"]


class EmailSuppressed(_Event):
    """Some or all recipients were skipped because they are on the suppression list."""

    type: Literal["email.suppressed"]


EventOut = Annotated[
    EmailScheduled
    | EmailQueued
    | EmailSending
    | EmailDelayed
    | EmailSent
    | EmailFailed
    | EmailBounced
    | EmailCanceled
    | EmailSuppressed,
    Field(discriminator="type"),
]


class EventList(BaseModel):
    """All events of one email, oldest first."""

    data: list[EventOut]
    next: str | None = Field(description="Always null: all events are on one page", examples=[None])


class EventPage(CursorPage[EventOut]):
    """One page of events, oldest first. Pass `next` as `after` to get the next page; it is null on the last page."""

    next: str | None = Field(examples=["123"])


# Messages on the WebSocket


class Ready(BaseModel):
    """The server's first message: all following events have an id greater than `cursor`."""

    type: Literal["ready"] = "ready"
    cursor: int


class Subscribed(BaseModel):
    """The response to `subscribe`: all following events match this filter. null matches any value."""

    type: Literal["subscribed"] = "subscribed"
    types: list[Literal[TYPES]] | None  # type: ignore[valid-type]  # built from the statuses at run time
    email_id: UUID | None


class Pong(BaseModel):
    """The response to a ping."""

    type: Literal["pong"] = "pong"


class SocketError(BaseModel):
    """The last message was not valid. The connection stays open."""

    type: Literal["error"] = "error"
    detail: str


class Authenticate(RequestModel):
    """The first message of a client that sends neither an Authorization header nor a session cookie."""

    action: Literal["authenticate"]
    token: str


class Subscribe(RequestModel):
    """Replace the filter: from now on, send only events that match. null matches any value."""

    action: Literal["subscribe"]
    types: list[Literal[TYPES]] | None = None  # type: ignore[valid-type]  # built from the statuses at run time
    email_id: UUID | None = None


class Ping(RequestModel):
    """Check that the connection works."""

    action: Literal["ping"]


ClientMessage = Annotated[Authenticate | Subscribe | Ping, Field(discriminator="action")]
