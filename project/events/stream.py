"""Live events: one tail of the events' table per process, whatever the number of those who follow.

The table is the truth; a message of the channel layer is only a hint to look (it may be lost: channels_redis#62), and without
one the tail looks every second. What it reads, it reads once, and hands to whoever wants it.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

from project.bridge.database.transactions import run_in_transaction
from project.bridge.notifications.cross_process import publish_on, subscribe
from project.bridge.notifications.local import server_stopping
from project.events.log import EVENTS_TOPIC, events_committed
from project.events.models import Event
from project.events.selectors import EventFilter, events_after, last_event_id

logger = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 1.0  # seconds
PAGE_SIZE = 500  # events
MAX_BUFFERED_EVENTS = 1000  # events that wait for a slow reader


class SlowConsumer(Exception):
    """A follower did not take its events in time. It may come again with the id of the last one that it took."""


@dataclass(frozen=True)
class StreamedEvent:
    """An event, as it is told."""

    event: Event

    @cached_property
    def json(self) -> str:
        """The text, made once for all who follow."""
        event = self.event
        at = event.created_at.isoformat().replace("+00:00", "Z")
        return json.dumps({"id": event.pk, "type": event.type, "created_at": at, "data": event.data})


class Subscriber:
    """Whoever follows: what it wants (which may change), and what waits for it."""

    def __init__(self, wanted: EventFilter) -> None:
        self.wanted = wanted
        self.after = 0  # the last event that is not for it
        self._waiting: deque[StreamedEvent] = deque()
        self._something = asyncio.Event()
        self.overflowed = asyncio.Event()
        self.has_ended = False

    def offer(self, told: StreamedEvent) -> None:
        """Put an event in line, if it is wanted."""
        if self.overflowed.is_set() or told.event.pk <= self.after or not self.wanted.includes(told.event):
            return
        if len(self._waiting) >= MAX_BUFFERED_EVENTS:
            self.overflowed.set()
            self._waiting.clear()
        else:
            self._waiting.append(told)
        self._something.set()

    def end(self) -> None:
        """Let it take what waits, and no more."""
        self.has_ended = True
        self._something.set()

    async def take(self) -> Sequence[StreamedEvent]:
        """What waits, and if nothing does, the next. Empty if it has ended. Raises `TooSlow`."""
        while not (self._waiting or self.overflowed.is_set() or self.has_ended):
            self._something.clear()
            await self._something.wait()
        if self.overflowed.is_set():
            raise SlowConsumer
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class EventStream:
    """Follows the events' table. One per application; `running` is for the lifespan."""

    def __init__(self) -> None:
        self._cursor = 0  # the last event that was read, while anybody follows
        self._followers: set[Subscriber] = set()
        self._wanted = asyncio.Event()
        self.is_stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the table while this is open, and hear of it when the server is about to stop."""
        loop, self._wanted, self.is_stopping, self._cursor = asyncio.get_running_loop(), asyncio.Event(), False, 0
        following = asyncio.create_task(self._follow())
        with (
            events_committed.subscribed(lambda: loop.call_soon_threadsafe(self._wanted.set)),
            server_stopping.subscribed(self.stop),
        ):
            async with subscribe(EVENTS_TOPIC, self._wanted.set), publish_on(events_committed, topic=EVENTS_TOPIC):
                try:
                    yield
                finally:
                    self.stop()
                    self._end_all()
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)

    @property
    def subscribers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def stop(self) -> None:
        """Let all who follow take what was committed, and end."""
        self.is_stopping = True
        self._wanted.set()

    def _end_all(self) -> None:
        for subscriber in self._followers:
            subscriber.end()

    async def now(self) -> int:
        """The id of the last event."""
        return max(await run_in_transaction(last_event_id), self._cursor)

    def add(self, subscriber: Subscriber, *, after: int) -> None:
        """Hand it what comes after an event that `now` gave, with nothing awaited since."""
        if not self._followers:
            self._cursor = max(self._cursor, after)  # nobody missed what was not read
        subscriber.after = after
        self._followers.add(subscriber)
        self._wanted.set()
        if self.is_stopping:
            subscriber.end()

    def remove(self, subscriber: Subscriber) -> None:
        """Hand it nothing more."""
        self._followers.discard(subscriber)

    async def _follow(self) -> None:
        while True:
            is_last = self.is_stopping
            try:
                await self._read_what_is_new()
            except Exception:
                logger.exception("The tail of the events will look again in %g s", POLL_INTERVAL_SECONDS)
            if is_last:
                self._end_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL_SECONDS):  # not wait_for: Python 3.11's may swallow a cancellation
                    await self._wanted.wait()
            self._wanted.clear()

    async def _read_what_is_new(self) -> None:
        while self._followers and (events := await run_in_transaction(events_after, self._cursor, limit=PAGE_SIZE)):
            for told in map(StreamedEvent, events):
                for subscriber in self._followers:
                    subscriber.offer(told)
            self._cursor = max(self._cursor, events[-1].pk)
            if len(events) < PAGE_SIZE:
                return


@asynccontextmanager
async def subscribe_to_events(
    tail: EventStream, wanted: EventFilter, *, after: int | None = None
) -> AsyncIterator["Subscription"]:
    """Follow what is wanted: from now on or, with `after`, all that came after that event."""
    subscriber, now = Subscriber(wanted), await tail.now()
    if after is None:
        tail.add(subscriber, after=now)
    try:
        yield Subscription(tail, subscriber, now if after is None else min(after, now), replays=after is not None)
    finally:
        tail.remove(subscriber)


class Subscription:
    """One who follows. `cursor` is the event after which its events come."""

    def __init__(self, tail: EventStream, subscriber: Subscriber, cursor: int, *, replays: bool) -> None:
        self.subscriber = subscriber
        self.cursor = cursor
        self._tail = tail
        self._replays = replays

    async def batches(self) -> AsyncIterator[Sequence[StreamedEvent]]:
        """The events, some at a time, until it or the server is to end. Raises `TooSlow`."""
        if self._replays:
            async for batch in self._replayed():
                yield batch
        while batch := await self.subscriber.take():
            yield batch

    async def _replayed(self) -> AsyncIterator[Sequence[StreamedEvent]]:
        """What the table has, up to where the tail takes over: no event is missed in between, and none comes twice."""
        position, joined = self.cursor, False
        while not joined and not self._is_over:
            upto = await self._tail.now()
            if joined := upto - position < PAGE_SIZE:  # so near that what comes while this is read has room to wait
                self._tail.add(self.subscriber, after=upto)
            async for batch in self._between(position, upto):
                yield batch
            position = upto
        if not joined:
            self.subscriber.end()

    async def _between(self, position: int, upto: int) -> AsyncIterator[Sequence[StreamedEvent]]:
        while position < upto and not self._is_over:
            events = await run_in_transaction(events_after, position, upto=upto, wanted=self.subscriber.wanted, limit=PAGE_SIZE)
            if events:
                yield [StreamedEvent(event) for event in events]
            position = events[-1].pk if len(events) == PAGE_SIZE else upto

    @property
    def _is_over(self) -> bool:
        return self.subscriber.has_ended or self._tail.is_stopping
