"""Events: page by page, as a stream (Server-Sent Events), and on a socket. All three tell the same."""

import re
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Security, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator, Field

from fastapi_app.deps import LiveTail, caller, principal_of
from fastapi_app.errors import problems, problems_beside
from fastapi_app.events.follow import EVENTS_READ, until_refused
from fastapi_app.events.schemas import TYPES, EventPage
from fastapi_app.events.socket import Asked, converse
from fastapi_app.pages import Limit
from project.accounts.places import place
from project.accounts.principal import Principal
from project.bridge import database
from project.bridge.background import BackgroundRoute
from project.outbox.live import TooSlow, following
from project.outbox.queries import Wanted, events_after

router = APIRouter(route_class=BackgroundRoute, prefix="/events", tags=["events"])
sockets = APIRouter()

SOME_TYPES = "^({0})(,({0}))*$".format("|".join(map(re.escape, TYPES)))
MOST_ID = 2**63 - 1  # what the databases count up to


def _known(types: str) -> str:
    if strangers := [name for name in types.split(",") if name not in TYPES]:
        raise ValueError(f"there is no type {strangers[0]!r}; there are {', '.join(TYPES)}")
    return types


Reader = Annotated[Principal, Security(caller, scopes=[EVENTS_READ])]


async def reader_with_place(who: Reader) -> AsyncIterator[Principal]:
    """Who may read events, and has a place for a stream until that ends."""
    with place(who.caller_id):
        yield who


PlacedReader = Annotated[Principal, Depends(reader_with_place)]
EventId = Annotated[int, Field(ge=0, le=MOST_ID)]
After = Annotated[EventId | None, Query(description="The id of the last event that was seen", examples=[123])]
Types = Annotated[
    str | None,
    Query(description="With commas between", examples=["email.sent,email.failed"], json_schema_extra={"pattern": SOME_TYPES}),
    Field(max_length=500),
    AfterValidator(lambda types: types if types is None else _known(types)),
]
STREAMED = 'id: 123\nevent: email.sent\ndata: {"id": 123, "type": "email.sent", …}\n\n'
STREAM = {"content": {"text/event-stream": {"schema": {"type": "string", "examples": [STREAMED]}}}}
LastEventId = Annotated[EventId | None, Header(alias="Last-Event-ID", description="What a browser sends when it comes again")]


@router.get(
    "",
    summary="List events",
    operation_id="list_events",
    responses=problems(401, 403, 422),
    response_model_exclude_unset=True,  # as it is told on sockets and streams
)
async def list_(  # what may be asked for
    who: Reader,
    after: After = None,
    types: Types = None,
    email_id: UUID | None = None,
    limit: Limit = 20,
) -> EventPage:
    """Of the caller's mails, the oldest first; for signed-in staff, of everybody's."""
    wanted = Wanted.by(who, types=_split(types), email_id=email_id)
    events = await database.run(events_after, after or 0, wanted=wanted, limit=limit + 1)
    return EventPage.of(events, limit, cursor=lambda event: event.pk)


@router.get(
    "/stream",
    summary="Follow events",
    operation_id="stream_events",
    responses={200: STREAM, **problems_beside(401, 403, 422)},
    response_class=EventSourceResponse,
)
async def stream(  # noqa: PLR0913  # what may be asked for
    connection: HTTPConnection,
    who: PlacedReader,
    tail: LiveTail,
    types: Types = None,
    email_id: UUID | None = None,
    after: After = None,
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """The same as they happen, as Server-Sent Events; `Last-Event-ID` or `after` begins with all that came since."""
    since = last_event_id if last_event_id is not None else after
    async with following(tail, Wanted.by(who, types=_split(types), email_id=email_id), after=since) as followed:
        yield ServerSentEvent(comment=f"ready {followed.cursor}", retry=1000)
        async with until_refused(lambda: principal_of(connection), who, followed.follower):
            try:
                async for batch in followed.batches():
                    for told in batch:
                        yield ServerSentEvent(id=str(told.event.pk), event=told.event.type, raw_data=told.json)
            except TooSlow:
                return  # it comes again with the id of the last that it has


@sockets.websocket("/ws/events")
async def socket(
    websocket: WebSocket, tail: LiveTail, after: EventId | None = None, types: Types = None, email_id: UUID | None = None
) -> None:
    """Events as they happen, and a few words of the client's: the first word may be who it is."""
    await converse(websocket, tail, Asked(after, _split(types), email_id))


def _split(types: str | None) -> list[str] | None:
    return types.split(",") if types is not None else None
