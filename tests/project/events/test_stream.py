"""The tail of the events' table: in order, with no gap and no double, whatever comes in between."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db import OperationalError
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pytest_django import Settings

from project.bridge.database.transactions import ping_database, run_in_transaction
from project.emails.models import Email
from project.events import stream
from project.events.log import EVENTS_TOPIC, append_events, build_event, events_committed
from project.events.models import Event
from project.events.selectors import EventFilter, events_after, last_event_id
from project.events.stream import EventStream, SlowConsumer, Subscription, subscribe_to_events
from tests.processes import PATIENCE
from tests.project.conftest import NOW, Accept

pytestmark = pytest.mark.anyio

ALL = EventFilter(None)
SHOP, CLUB = EventFilter("key:1"), EventFilter("key:2")
FILTERS = [
    ALL,
    SHOP,
    CLUB,
    EventFilter(None, frozenset({"email.sent"})),
    EventFilter("key:1", frozenset({"email.failed", "email.queued"})),
]
KINDS = [("key:1", "email.sent"), ("key:1", "email.failed"), ("key:2", "email.sent"), ("key:2", "email.queued")]


class BrokenLayer(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """A channel layer whose server is gone."""

    async def group_add(self, group: str, channel: str) -> None:
        """Fail as redis-py does."""
        raise ConnectionRefusedError

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """The same."""
        raise ConnectionRefusedError


@pytest.fixture
async def event_stream() -> AsyncIterator[EventStream]:
    """A tail that runs, and does not look by itself before the test is over."""
    event_stream = EventStream()
    async with event_stream.running():
        yield event_stream


@pytest.fixture(autouse=True)
def _mail(accept: Accept) -> None:
    accept()


@pytest.fixture(autouse=True)
def _looks_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "POLL_INTERVAL_SECONDS", 2 * PATIENCE)


def write(*kinds: tuple[str, str]) -> list[int]:
    """Write events of one mail, each with the caller and the type given. Gives their ids."""
    email, before = Email.objects.get(), last_event_id()
    events = [build_event(email, now=NOW) for _ in kinds]
    for event, (caller, kind) in zip(events, kinds, strict=True):
        event.owner, event.type = caller, kind
        event.data["status"] = event.type.removeprefix("email.")
    append_events(events)
    return [event.pk for event in events_after(before, limit=len(kinds))]


async def written(*kinds: tuple[str, str]) -> list[int]:
    """Do so as one transaction, with the hint that its commit gives (a test's own transaction has none)."""
    ids = await run_in_transaction(write, *kinds)
    events_committed.send()
    return ids


async def heard(subscription: Subscription, count: int) -> list[int]:
    """The ids of the next events."""
    ids: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while len(ids) < count:
            ids += [told.event.pk for told in await subscription.subscriber.take()]
    return ids


# Joining


class Writer:
    """Commits more events whenever the table is read, before and after, until it has none left."""

    def __init__(self, bursts: Sequence[Sequence[tuple[str, str]]]) -> None:
        self.bursts = list(bursts)

    def between(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """The same read, with commits around it."""

        def reading(*args: Any, **kwargs: Any) -> Any:
            self.commit()
            found = read(*args, **kwargs)
            self.commit()
            return found

        return reading

    def commit(self) -> None:
        """The next burst."""
        if self.bursts:
            write(*self.bursts.pop())
            events_committed.send()


class Reader:
    """Follows until the tail stops, and keeps what it hears."""

    def __init__(self, wanted: EventFilter, after: int | None) -> None:
        self.wanted, self.after = wanted, after
        self.cursor: int | None = None
        self.heard: list[int] = []

    async def follow(self, event_stream: EventStream) -> None:
        """Hear all that is wanted."""
        async with subscribe_to_events(event_stream, self.wanted, after=self.after) as subscription:
            self.cursor = subscription.cursor
            async for batch in subscription.batches():
                self.heard += [told.event.pk for told in batch]

    def wants(self) -> list[int]:
        """What it should hear, of what was written so far."""
        assert self.cursor is not None
        events = self.wanted.apply(Event.objects.filter(id__gt=self.cursor))
        return list(events.order_by("id").values_list("id", flat=True))


async def until(condition: Callable[[], bool]) -> None:
    """Let the others work until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await run_in_transaction(ping_database)


a_reader = st.tuples(st.sampled_from(FILTERS), st.none() | st.integers(0, 12))
a_burst = st.lists(st.sampled_from(KINDS), min_size=1, max_size=7)


@given(asked=st.lists(a_reader, min_size=1, max_size=4), bursts=st.lists(a_burst, max_size=14), before=a_burst)
@examples(
    max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_replay_joins_the_live_tail_with_no_gap_and_no_double(
    asked: list[tuple[EventFilter, int | None]], bursts: list[list[tuple[str, str]]], before: list[tuple[str, str]]
) -> None:
    base = (await written(*before))[0] - 1
    readers = [Reader(wanted, None if after is None else base + after) for wanted, after in asked]
    writer, event_stream = Writer(bursts), EventStream()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "PAGE_SIZE", 3)
        patch.setattr(stream, "events_after", writer.between(events_after))
        patch.setattr(stream, "last_event_id", writer.between(last_event_id))
        async with event_stream.running(), asyncio.TaskGroup() as tasks:
            for reader in readers:
                tasks.create_task(reader.follow(event_stream))
            await until(lambda: all(reader.cursor is not None for reader in readers))
            while writer.bursts:
                await run_in_transaction(writer.commit)
            for reader in readers:
                wants = await run_in_transaction(reader.wants)
                await until(lambda: len(reader.heard) >= len(wants))  # noqa: B023  # it is called here
            event_stream.stop()

    assert [reader.heard for reader in readers] == [await run_in_transaction(reader.wants) for reader in readers]
    assert all(reader.after is None or (reader.cursor or 0) <= reader.after for reader in readers)


async def test_a_replay_that_is_far_behind_is_not_too_slow(event_stream: EventStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PAGE_SIZE", 3)
    monkeypatch.setattr(stream, "MAX_BUFFERED_EVENTS", 3)
    ids = await written(*KINDS * 5)

    heard: list[int] = []
    async with subscribe_to_events(event_stream, ALL, after=ids[0] - 1) as subscription:
        async for batch in subscription.batches():
            heard += [told.event.pk for told in batch]
            if len(ids) < 40:
                ids += await written(*KINDS)
            if len(heard) == len(ids):
                break

    assert heard == ids


async def test_a_cursor_from_the_future_begins_now(event_stream: EventStream) -> None:
    (last,) = await written(KINDS[0])

    async with subscribe_to_events(event_stream, ALL, after=last + 1000) as subscription:
        batches = subscription.batches()
        waiting = asyncio.ensure_future(anext(batches))
        await until(lambda: subscription.subscriber in event_stream._followers)
        (new,) = await written(KINDS[0])

        assert subscription.cursor == last
        assert [told.event.pk for told in await waiting] == [new]


# Following


async def test_what_is_read_is_read_once_for_all(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, ALL) as one, subscribe_to_events(event_stream, SHOP) as other:
        await written(KINDS[0])

        (told,), (same,) = await one.subscriber.take(), await other.subscriber.take()

    assert told is same
    assert told.json is same.json


async def test_each_hears_what_it_wants(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, SHOP) as shop, subscribe_to_events(event_stream, CLUB) as club:
        ids = await written(*KINDS)

        assert await heard(shop, 2) == ids[:2]
        assert await heard(club, 2) == ids[2:]


async def test_what_is_wanted_may_change(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, SHOP) as subscription:
        subscription.subscriber.wanted = CLUB
        ids = await written(*KINDS)

        assert await heard(subscription, 2) == ids[2:]


async def test_who_is_too_slow_is_sent_off_and_keeps_nobody_else_back(
    event_stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_BUFFERED_EVENTS", 10)
    async with subscribe_to_events(event_stream, ALL) as slow, subscribe_to_events(event_stream, ALL) as quick:
        for _ in range(5):
            ids = await written(*KINDS)
            assert await heard(quick, len(KINDS)) == ids

        assert slow.subscriber.overflowed.is_set()
        with pytest.raises(SlowConsumer):
            await slow.subscriber.take()


async def test_when_the_server_stops_what_waits_is_still_taken(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, ALL) as subscription, subscribe_to_events(event_stream, ALL) as witness:
        ids = await written(*KINDS)
        await heard(witness, len(ids))
        event_stream.stop()

        assert [[told.event.pk for told in batch] async for batch in subscription.batches()] == [ids]


async def test_who_comes_while_the_server_stops_is_told_nothing(event_stream: EventStream) -> None:
    (first, *_) = await written(*KINDS)
    event_stream.stop()

    async with subscribe_to_events(event_stream, ALL) as now, subscribe_to_events(event_stream, ALL, after=first) as since:
        assert [batch async for batch in now.batches()] == []
        assert [batch async for batch in since.batches()] == []


# Hints


@pytest.mark.pitfall(21)
async def test_with_no_hint_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "POLL_INTERVAL_SECONDS", 0.05)
    event_stream = EventStream()
    async with event_stream.running(), subscribe_to_events(event_stream, ALL) as subscription:
        ids = await run_in_transaction(write, *KINDS)

        assert await heard(subscription, len(KINDS)) == ids


@pytest.mark.pitfall(21)
async def test_with_a_broken_channel_layer_nothing_is_lost(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{BrokenLayer.__module__}.{BrokenLayer.__qualname__}"}}
    monkeypatch.setattr(stream, "POLL_INTERVAL_SECONDS", 0.05)
    event_stream = EventStream()
    async with event_stream.running(), subscribe_to_events(event_stream, ALL) as subscription:
        hinted, unhinted = await written(*KINDS), await run_in_transaction(write, *KINDS)

        assert await heard(subscription, 2 * len(KINDS)) == hinted + unhinted


async def test_a_hint_of_another_process_is_heard(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, ALL) as subscription:
        ids = await run_in_transaction(write, *KINDS)
        await get_channel_layer().group_send(EVENTS_TOPIC, {"type": "hint", "from": "another process"})

        assert await heard(subscription, len(KINDS)) == ids


async def test_a_database_that_was_away_is_asked_again(event_stream: EventStream, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = [OperationalError("gone")]

    def unsteady(*args: Any, **kwargs: Any) -> list[Event]:
        if troubles:
            raise troubles.pop()
        return events_after(*args, **kwargs)

    monkeypatch.setattr(stream, "events_after", unsteady)
    async with subscribe_to_events(event_stream, ALL) as subscription:
        ids = await written(*KINDS)
        await until(lambda: not troubles)
        events_committed.send()

        assert await heard(subscription, len(KINDS)) == ids


async def test_a_tail_that_starts_again_knows_nothing_of_an_earlier_table(monkeypatch: pytest.MonkeyPatch) -> None:
    event_stream = EventStream()
    with monkeypatch.context() as earlier:
        earlier.setattr(stream, "last_event_id", lambda: 10_000_000)
        async with event_stream.running(), subscribe_to_events(event_stream, ALL):
            pass

    async with event_stream.running(), subscribe_to_events(event_stream, ALL) as subscription:
        ids = await written(*KINDS)
        events_committed.send()

        assert await heard(subscription, len(KINDS)) == ids
