"""Live events: one task per process polls the event table and passes new events to all subscribers.

The table is the only source of events. A message of the channel layer only wakes the task early. Such messages can be lost
(channels_redis#62), so the task also polls every second. Each event is read and serialized once, for any number of subscribers.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

from project.bridge.database.read_transactions import run_in_read_transaction, run_lookup
from project.bridge.notifications.cross_process import publish_on, subscribe
from project.bridge.notifications.local import server_stopping
from project.events.log import EVENTS_TOPIC, events_committed
from project.events.models import Event
from project.events.selectors import EventFilter, events_after, last_event_id, waits_for_writer
from project.metrics.counters import event_subscribers

logger = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 1.0
MIN_POLL_INTERVAL_SECONDS = 0.01  # while committed events wait for an open transaction; doubled with each poll
PAGE_SIZE = 500  # events per query
MAX_BUFFERED_EVENTS = 1000  # events that wait for one slow subscriber


class SlowConsumer(Exception):
    """A subscriber's buffer is full. The client can reconnect with the id of the last event it received."""


@dataclass(frozen=True)
class StreamedEvent:
    """An event to send to subscribers."""

    event: Event

    @cached_property
    def json(self) -> str:
        """The event as JSON, serialized once for all subscribers."""
        event = self.event
        created_at = event.created_at.isoformat().replace("+00:00", "Z")
        return json.dumps({"id": event.pk, "type": event.type, "created_at": created_at, "data": event.data})


class Subscriber:
    """The filter of a client, which may be replaced at any time, and a buffer of the events that wait for the client."""

    def __init__(self, event_filter: EventFilter) -> None:
        self.filter = event_filter
        self.after = 0  # events up to this id are not for this subscriber
        self._buffer: deque[StreamedEvent] = deque()
        self._changed = asyncio.Event()
        self.overflowed = asyncio.Event()
        self.has_ended = False

    def offer(self, streamed: StreamedEvent) -> None:
        """Buffer an event if it passes the filter."""
        if self.overflowed.is_set() or streamed.event.pk <= self.after or not self.filter.matches(streamed.event):
            return
        if len(self._buffer) >= MAX_BUFFERED_EVENTS:
            self.overflowed.set()
            self._buffer.clear()
        else:
            self._buffer.append(streamed)
        self._changed.set()

    def end(self) -> None:
        """End the subscription. Buffered events can still be received with `take`."""
        self.has_ended = True
        self._changed.set()

    async def take(self) -> Sequence[StreamedEvent]:
        """Wait for events and return all buffered events, or an empty list if the subscription has ended.

        Raises `SlowConsumer`.
        """
        while not (self._buffer or self.overflowed.is_set() or self.has_ended):
            self._changed.clear()
            await self._changed.wait()
        if self.overflowed.is_set():
            raise SlowConsumer
        events = list(self._buffer)
        self._buffer.clear()
        return events


class EventStream:
    """Polls the event table for all subscribers. Each application has one event stream, and its lifespan opens `running`."""

    def __init__(self) -> None:
        self._cursor = 0  # id of the last event that was read; only meaningful while there are subscribers
        self._subscribers: set[Subscriber] = set()
        self._wake = asyncio.Event()
        self.is_stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll the table while this context is open. All subscriptions end when the server is about to stop."""
        loop, self._wake, self.is_stopping, self._cursor = asyncio.get_running_loop(), asyncio.Event(), False, 0
        polling = asyncio.create_task(self._poll())
        with (
            events_committed.subscribed(lambda: loop.call_soon_threadsafe(self._wake.set)),
            server_stopping.subscribed(self.stop),
        ):
            async with subscribe(EVENTS_TOPIC, self._wake.set), publish_on(events_committed, topic=EVENTS_TOPIC):
                try:
                    yield
                finally:
                    self.stop()
                    self._end_all()
                    polling.cancel()
                    await asyncio.gather(polling, return_exceptions=True)

    def stop(self) -> None:
        """End all subscriptions after they have received every committed event."""
        self.is_stopping = True
        self._wake.set()

    def _end_all(self) -> None:
        for subscriber in self._subscribers:
            subscriber.end()

    async def latest_id(self) -> int:
        """Return the id of the last event."""
        return max(await run_lookup(last_event_id), self._cursor)

    def add(self, subscriber: Subscriber, *, after: int) -> None:
        """Start to pass events to a subscriber. `after` must be a result of `latest_id`, with no `await` in between."""
        if not self._subscribers:
            self._cursor = max(self._cursor, after)  # no subscriber needs the events up to `after`
        subscriber.after = after
        self._subscribers.add(subscriber)
        event_subscribers.set(len(self._subscribers))
        self._wake.set()
        if self.is_stopping:
            subscriber.end()

    def remove(self, subscriber: Subscriber) -> None:
        """Stop passing events to a subscriber."""
        self._subscribers.discard(subscriber)
        event_subscribers.set(len(self._subscribers))

    async def _poll(self) -> None:
        pause = POLL_INTERVAL_SECONDS
        while True:
            is_last = self.is_stopping
            try:
                # Doubled while committed events wait for an open transaction, which wakes this process only if it is its own.
                pause = min(2 * pause, POLL_INTERVAL_SECONDS) if await self._read_new_events() else POLL_INTERVAL_SECONDS
            except Exception:
                pause = POLL_INTERVAL_SECONDS
                logger.exception("Reading new events failed; trying again in %g s", POLL_INTERVAL_SECONDS)
            if is_last:
                self._end_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):  # not wait_for: it may swallow a cancellation in Python 3.11
                    await self._wake.wait()
                    pause = MIN_POLL_INTERVAL_SECONDS
            self._wake.clear()

    async def _read_new_events(self) -> bool:
        """Pass new events to the subscribers. Return whether more events are committed that must wait for a transaction."""
        is_waiting, is_last_page = False, False
        while self._subscribers and not is_last_page:
            events, is_waiting = await run_lookup(_read_page, self._cursor)
            for streamed in map(StreamedEvent, events):
                for subscriber in self._subscribers:
                    subscriber.offer(streamed)
            if events:
                self._cursor = max(self._cursor, events[-1].pk)
            is_last_page = len(events) < PAGE_SIZE
        return is_waiting


@asynccontextmanager
async def subscribe_to_events(
    stream: EventStream, event_filter: EventFilter, *, after: int | None = None
) -> AsyncIterator["Subscription"]:
    """Subscribe to live events. With `after`, first replay all past events after that id."""
    subscriber, latest = Subscriber(event_filter), await stream.latest_id()
    if after is None:
        stream.add(subscriber, after=latest)
    try:
        yield Subscription(stream, subscriber, latest if after is None else min(after, latest), replays=after is not None)
    finally:
        stream.remove(subscriber)


class Subscription:
    """The events of one subscriber. All these events have an id greater than `cursor`."""

    def __init__(self, stream: EventStream, subscriber: Subscriber, cursor: int, *, replays: bool) -> None:
        self.subscriber = subscriber
        self.cursor = cursor
        self._stream = stream
        self._replays = replays

    async def batches(self) -> AsyncIterator[Sequence[StreamedEvent]]:
        """Yield events in batches until the subscription ends or the server stops. Raises `SlowConsumer`."""
        if self._replays:
            async for batch in self._replay():
                yield batch
        while batch := await self.subscriber.take():
            yield batch

    async def _replay(self) -> AsyncIterator[Sequence[StreamedEvent]]:
        """Yield events from the table, and join the live stream without a gap or a duplicate."""
        position, joined = self.cursor, False
        while not joined and not self._is_over:
            latest = await self._stream.latest_id()
            # Join when few events are left, so that the buffer has room for events committed in the meantime.
            if joined := latest - position < PAGE_SIZE:
                self._stream.add(self.subscriber, after=latest)
            async for batch in self._read_between(position, latest):
                yield batch
            position = latest
        if not joined:
            self.subscriber.end()

    async def _read_between(self, position: int, last: int) -> AsyncIterator[Sequence[StreamedEvent]]:
        while position < last and not self._is_over:
            events = await run_in_read_transaction(
                events_after, position, up_to=last, event_filter=self.subscriber.filter, limit=PAGE_SIZE
            )
            if events:
                yield [StreamedEvent(event) for event in events]
            position = events[-1].pk if len(events) == PAGE_SIZE else last

    @property
    def _is_over(self) -> bool:
        return self.subscriber.has_ended or self._stream.is_stopping


def _read_page(after: int) -> tuple[Sequence[Event], bool]:
    """Return a page of new events, and whether committed events that follow this page must wait for a transaction."""
    events = events_after(after, limit=PAGE_SIZE)
    return events, len(events) < PAGE_SIZE and waits_for_writer(events[-1].pk if events else after)
