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

from project.bridge import database
from project.bridge.hints import hearing, passing_on
from project.bridge.listeners import stopping
from project.outbox.events import EVENTS, committed
from project.outbox.models import Event
from project.outbox.queries import Wanted, events_after, last_event_id

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds
PAGE = 500  # events
ROOM = 1000  # events that wait for a slow reader


class TooSlow(Exception):
    """A follower did not take its events in time. It may come again with the id of the last one that it took."""


@dataclass(frozen=True)
class Told:
    """An event, as it is told."""

    event: Event

    @cached_property
    def json(self) -> str:
        """The text, made once for all who follow."""
        event = self.event
        at = event.created_at.isoformat().replace("+00:00", "Z")
        return json.dumps({"id": event.pk, "type": event.type, "created_at": at, "data": event.data})


class Follower:
    """Whoever follows: what it wants (which may change), and what waits for it."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.after = 0  # the last event that is not for it
        self._waiting: deque[Told] = deque()
        self._something = asyncio.Event()
        self.overflowed = asyncio.Event()
        self.has_ended = False

    def offer(self, told: Told) -> None:
        """Put an event in line, if it is wanted."""
        if self.overflowed.is_set() or told.event.pk <= self.after or not self.wanted.includes(told.event):
            return
        if len(self._waiting) >= ROOM:
            self.overflowed.set()
            self._waiting.clear()
        else:
            self._waiting.append(told)
        self._something.set()

    def end(self) -> None:
        """Let it take what waits, and no more."""
        self.has_ended = True
        self._something.set()

    async def take(self) -> Sequence[Told]:
        """What waits, and if nothing does, the next. Empty if it has ended. Raises `TooSlow`."""
        while not (self._waiting or self.overflowed.is_set() or self.has_ended):
            self._something.clear()
            await self._something.wait()
        if self.overflowed.is_set():
            raise TooSlow
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class Tail:
    """Follows the events' table. One per application; `running` is for the lifespan."""

    def __init__(self) -> None:
        self._cursor = 0  # the last event that was read, while anybody follows
        self._followers: set[Follower] = set()
        self._wanted = asyncio.Event()
        self.is_stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the table while this is open, and hear of it when the server is about to stop."""
        loop, self._wanted, self.is_stopping, self._cursor = asyncio.get_running_loop(), asyncio.Event(), False, 0
        following = asyncio.create_task(self._follow())
        with committed.listening(lambda: loop.call_soon_threadsafe(self._wanted.set)), stopping.listening(self.stop):
            async with hearing(EVENTS, self._wanted.set), passing_on(committed, topic=EVENTS):
                try:
                    yield
                finally:
                    self.stop()
                    self._end_all()
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def stop(self) -> None:
        """Let all who follow take what was committed, and end."""
        self.is_stopping = True
        self._wanted.set()

    def _end_all(self) -> None:
        for follower in self._followers:
            follower.end()

    async def now(self) -> int:
        """The id of the last event."""
        return max(await database.run(last_event_id), self._cursor)

    def add(self, follower: Follower, *, after: int) -> None:
        """Hand it what comes after an event that `now` gave, with nothing awaited since."""
        if not self._followers:
            self._cursor = max(self._cursor, after)  # nobody missed what was not read
        follower.after = after
        self._followers.add(follower)
        self._wanted.set()
        if self.is_stopping:
            follower.end()

    def remove(self, follower: Follower) -> None:
        """Hand it nothing more."""
        self._followers.discard(follower)

    async def _follow(self) -> None:
        while True:
            is_last = self.is_stopping
            try:
                await self._read_what_is_new()
            except Exception:
                logger.exception("The tail of the events will look again in %g s", LOOK_EVERY)
            if is_last:
                self._end_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):  # not wait_for: Python 3.11's may swallow a cancellation
                    await self._wanted.wait()
            self._wanted.clear()

    async def _read_what_is_new(self) -> None:
        while self._followers and (events := await database.run(events_after, self._cursor, limit=PAGE)):
            for told in map(Told, events):
                for follower in self._followers:
                    follower.offer(told)
            self._cursor = max(self._cursor, events[-1].pk)
            if len(events) < PAGE:
                return


@asynccontextmanager
async def following(tail: Tail, wanted: Wanted, *, after: int | None = None) -> AsyncIterator["Following"]:
    """Follow what is wanted: from now on or, with `after`, all that came after that event."""
    follower, now = Follower(wanted), await tail.now()
    if after is None:
        tail.add(follower, after=now)
    try:
        yield Following(tail, follower, now if after is None else min(after, now), replays=after is not None)
    finally:
        tail.remove(follower)


class Following:
    """One who follows. `cursor` is the event after which its events come."""

    def __init__(self, tail: Tail, follower: Follower, cursor: int, *, replays: bool) -> None:
        self.follower = follower
        self.cursor = cursor
        self._tail = tail
        self._replays = replays

    async def batches(self) -> AsyncIterator[Sequence[Told]]:
        """The events, some at a time, until it or the server is to end. Raises `TooSlow`."""
        if self._replays:
            async for batch in self._replayed():
                yield batch
        while batch := await self.follower.take():
            yield batch

    async def _replayed(self) -> AsyncIterator[Sequence[Told]]:
        """What the table has, up to where the tail takes over: no event is missed in between, and none comes twice."""
        position, joined = self.cursor, False
        while not joined and not self._is_over:
            upto = await self._tail.now()
            if joined := upto - position < PAGE:  # so near that what comes while this is read has room to wait
                self._tail.add(self.follower, after=upto)
            async for batch in self._between(position, upto):
                yield batch
            position = upto
        if not joined:
            self.follower.end()

    async def _between(self, position: int, upto: int) -> AsyncIterator[Sequence[Told]]:
        while position < upto and not self._is_over:
            events = await database.run(events_after, position, upto=upto, wanted=self.follower.wanted, limit=PAGE)
            if events:
                yield [Told(event) for event in events]
            position = events[-1].pk if len(events) == PAGE else upto

    @property
    def _is_over(self) -> bool:
        return self.follower.has_ended or self._tail.is_stopping
