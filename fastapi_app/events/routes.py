"""Event routes: a paginated list, a stream of Server-Sent Events, and a WebSocket. All three return the same events."""

import re
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Security, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator, Field

from fastapi_app.api_route import ApiRouter
from fastapi_app.dependencies import EventStreamDep, authenticate, require_principal
from fastapi_app.error_responses import openapi_errors, openapi_non_json_errors
from fastapi_app.events.reauthorization import EVENTS_SCOPE, close_when_revoked, credential_of, share_checks
from fastapi_app.events.schemas import TYPES, EventPage, Ready
from fastapi_app.events.websocket import SubscriptionQuery, serve_event_socket
from fastapi_app.pagination import Limit
from fastapi_app.query_parameters import reject_unknown_query
from project.auth.principal import Principal
from project.bridge.database.read_transactions import run_in_read_transaction
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS
from project.events.selectors import EventFilter, events_after
from project.events.stream import SlowConsumer, subscribe_to_events
from project.limits.connection_slots import connection_slot

router = ApiRouter(prefix="/events", tags=["events"])
sockets = APIRouter(dependencies=[Depends(reject_unknown_query)])

TYPES_PATTERN = "^({0})(,({0}))*$".format("|".join(map(re.escape, TYPES)))
MAX_EVENT_ID = 2**63 - 1  # the largest id that the database can store


def _check_types(types: str) -> str:
    if unknown := [name for name in types.split(",") if name not in TYPES]:
        raise ValueError(f"Unknown event type {unknown[0]!r}. Use one of {', '.join(TYPES)}.")
    return types


Reader = Annotated[Principal, Security(require_principal, scopes=[EVENTS_SCOPE])]


async def limit_streams(principal: Reader) -> AsyncIterator[Principal]:
    """Return a principal that may read events, and occupy one of its connection slots until the stream ends."""
    with connection_slot(principal.owner_id):
        yield principal


StreamReader = Annotated[Principal, Depends(limit_streams)]
EventId = Annotated[int, Field(ge=0, le=MAX_EVENT_ID)]
After = Annotated[EventId | None, Query(description="Return events after this event id", examples=[123])]
Types = Annotated[
    str | None,
    Query(
        description="Event types, separated by commas",
        examples=["email.sent,email.failed"],
        json_schema_extra={"pattern": TYPES_PATTERN},
    ),
    Field(max_length=500),
    AfterValidator(lambda types: types if types is None else _check_types(types)),
]
STREAM_EXAMPLE = """event: ready
data: {"type": "ready", "cursor": 122}
id: 122
retry: 1000

event: email.sent
data: {"id": 123, "type": "email.sent", …}
id: 123

"""
STREAM_RESPONSE = {"content": {"text/event-stream": {"schema": {"type": "string", "examples": [STREAM_EXAMPLE]}}}}
LastEventId = Annotated[
    EventId | None,
    Header(alias="Last-Event-ID", description="Sent by browsers when they reconnect. Takes precedence over `after`"),
]


@router.get(
    "",
    summary="List events",
    operation_id="list_events",
    responses=openapi_errors(401, 403, 422),
    response_model_exclude_unset=True,  # the same JSON as the WebSocket and the stream send
)
async def list_(
    principal: Reader,
    after: After = None,
    types: Types = None,
    email_id: UUID | None = None,
    limit: Limit = 20,
) -> EventPage:
    """List the events of the caller's emails, oldest first.

    Staff users with the permission to view emails see the events of all emails.
    """
    event_filter = EventFilter.for_principal(principal, types=_split_types(types), email_id=email_id)
    events = await run_in_read_transaction(events_after, after or 0, event_filter=event_filter, limit=limit + 1)
    return EventPage.of(events, limit, cursor=lambda event: event.pk)


@router.get(
    "/stream",
    summary="Stream events",
    operation_id="stream_events",
    responses={200: STREAM_RESPONSE, **openapi_non_json_errors(401, 403, 422)},
    response_class=EventSourceResponse,
)
async def stream(  # noqa: PLR0913  # the parameters of the request
    connection: HTTPConnection,
    principal: StreamReader,
    event_stream: EventStreamDep,
    types: Types = None,
    email_id: UUID | None = None,
    after: After = None,
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """Stream events as Server-Sent Events. With `Last-Event-ID` or `after`, the stream starts with all events since that id."""
    since = last_event_id if last_event_id is not None else after
    event_filter = EventFilter.for_principal(principal, types=_split_types(types), email_id=email_id)
    async with subscribe_to_events(event_stream, event_filter, after=since) as subscription:
        # As an event with data, because parsers report a block without data as an empty event. The id makes a client that
        # reconnects before its first event ask for everything since now.
        ready = Ready(cursor=subscription.cursor).model_dump_json()
        yield ServerSentEvent(id=str(subscription.cursor), event="ready", raw_data=ready, retry=1000)
        reauthenticate = share_checks(lambda: authenticate(connection), credential=credential_of(connection))
        async with close_when_revoked(reauthenticate, principal, subscription.subscriber):
            try:
                async for batch in subscription.batches():
                    for streamed in batch:
                        yield ServerSentEvent(id=str(streamed.event.pk), event=streamed.event.type, raw_data=streamed.json)
            except (SlowConsumer, *DATABASE_UNAVAILABLE_ERRORS):
                return  # the client reconnects with the id of the last event it received


@sockets.websocket("/ws/events")
async def socket(
    websocket: WebSocket,
    event_stream: EventStreamDep,
    after: EventId | None = None,
    types: Types = None,
    email_id: UUID | None = None,
) -> None:
    """Stream events as they happen. The client can authenticate with its first message, and change its filter later."""
    await serve_event_socket(websocket, event_stream, SubscriptionQuery(after, _split_types(types), email_id))


def _split_types(types: str | None) -> list[str] | None:
    return types.split(",") if types is not None else None
