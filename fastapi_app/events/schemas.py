"""The shapes of events: one union, tagged by `type`, for pages, streams and the socket."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from fastapi_app.fields import EXAMPLE_TIME
from fastapi_app.pagination import CursorPage
from project.emails.status import Status

TYPES = tuple(f"email.{status}" for status in Status)


class RecipientRejection(BaseModel):
    """What the relay said of a recipient that it refused."""

    smtp_code: int = Field(examples=[550])
    response: str = Field(examples=["5.1.1 No such user"])


class EventData(BaseModel):
    """The mail that it happened to, as it was then."""

    email_id: UUID = Field(examples=["01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"])
    status: Status = Field(examples=["sent"])
    to: list[str] = Field(description="All its recipients", examples=[["ada@example.com"]])
    subject: str = Field(examples=["Your order"])
    tags: dict[str, str] = Field(examples=[{"order": "42"}])
    attempt: int = Field(description="How many tries it had", examples=[1])
    smtp_code: int | None = Field(description="What the relay said, if it did", examples=[250])
    response: str | None = Field(examples=["2.0.0 Ok: queued as 4D2C11"])
    refused: dict[str, RecipientRejection] = Field({}, description="The recipients that the relay refused in this try")
    suppressed: list[str] = Field([], description="The recipients that were left out, since they are on the suppression list")


class _Event(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="In the order in which things happened", examples=[123])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    data: EventData


class EmailScheduled(_Event):
    """It will be sent at its time."""

    type: Literal["email.scheduled"]


class EmailQueued(_Event):
    """It waits to be sent."""

    type: Literal["email.queued"]


class EmailSending(_Event):
    """It is being handed to the relay."""

    type: Literal["email.sending"]


class EmailDelayed(_Event):
    """A try failed, another is due."""

    type: Literal["email.delayed"]


class EmailSent(_Event):
    """The relay took it."""

    type: Literal["email.sent"]


class EmailFailed(_Event):
    """It will not be tried again."""

    type: Literal["email.failed"]


class EmailBounced(_Event):
    """No recipient exists, says the relay."""

    type: Literal["email.bounced"]


class EmailCanceled(_Event):
    """It was canceled before it was sent."""

    type: Literal["email.canceled"]


class EmailSuppressed(_Event):
    """Recipients were left out, since they are on the suppression list: some, or all."""

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
    """All of one mail's, the oldest first."""

    data: list[EventOut]
    next: None


class EventPage(CursorPage[EventOut]):
    """Some of many, the oldest first. `next` is what the next page comes `after`; null if there is none yet."""

    next: str | None = Field(examples=["123"])


# What is said on the socket


class Ready(BaseModel):
    """The first word of the server: events will come that have an id greater than `cursor`."""

    type: Literal["ready"] = "ready"
    cursor: int


class Pong(BaseModel):
    """The answer to a ping."""

    type: Literal["pong"] = "pong"


class SocketError(BaseModel):
    """Something that was said was not understood. The socket stays open."""

    type: Literal["error"] = "error"
    detail: str


class Authenticate(BaseModel):
    """The first word of a client that sent neither an Authorization header nor a session."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["authenticate"]
    token: str


class Subscribe(BaseModel):
    """From now on, these events only; null means any."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["subscribe"]
    types: list[Literal[TYPES]] | None = None  # type: ignore[valid-type]  # made from the states, at run time
    email_id: UUID | None = None


class Ping(BaseModel):
    """Are you there?"""

    model_config = ConfigDict(extra="forbid")

    action: Literal["ping"]


ClientMessage = Annotated[Authenticate | Subscribe | Ping, Field(discriminator="action")]
