"""The event stream: events arrive in order, without gaps or duplicates, even if events are committed during a replay."""

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
from tests.processes import WAIT_TIMEOUT_SECONDS
from tests.project.conftest import NOW, SubmitEmail

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
    """A channel layer whose Redis server is down."""

    async def group_add(self, group: str, channel: str) -> None:
        """Raise the error that redis-py raises."""
        raise ConnectionRefusedError

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Raise the error that redis-py raises."""
        raise ConnectionRefusedError


@pytest.fixture
async def event_stream() -> AsyncIterator[EventStream]:
    """Run an event stream that reads events only when it is woken. Its poll interval is longer than any test."""
    event_stream = EventStream()
    async with event_stream.running():
        yield event_stream


@pytest.fixture(autouse=True)
def _email(submit_email: SubmitEmail) -> None:
    submit_email()


@pytest.fixture(autouse=True)
def _polls_only_when_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "POLL_INTERVAL_SECONDS", 2 * WAIT_TIMEOUT_SECONDS)


def write(*kinds: tuple[str, str]) -> list[int]:
    """Append events of one email, each with an owner and a type. Return the ids of the events."""
    email, before = Email.objects.get(), last_event_id()
    events = [build_event(email, now=NOW) for _ in kinds]
    for event, (owner, event_type) in zip(events, kinds, strict=True):
        event.owner, event.type = owner, event_type
        event.data["status"] = event.type.removeprefix("email.")
    append_events(events)
    return [event.pk for event in events_after(before, limit=len(kinds))]


async def commit(*kinds: tuple[str, str]) -> list[int]:
    """Append events in a transaction. Send the commit signal explicitly, because the test's outer transaction suppresses it."""
    ids = await run_in_transaction(write, *kinds)
    events_committed.send()
    return ids


async def take_ids(subscription: Subscription, count: int) -> list[int]:
    """Wait for at least `count` events, and return their ids."""
    ids: list[int] = []
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        while len(ids) < count:
            ids += [streamed.event.pk for streamed in await subscription.subscriber.take()]
    return ids


# From replay to live events


class Writer:
    """Commits a burst of events before and after each read of the table, as long as bursts are left."""

    def __init__(self, bursts: Sequence[Sequence[tuple[str, str]]]) -> None:
        self.bursts = list(bursts)

    def committing_around(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a read function so that it commits a burst before and after each read."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.commit_burst()
            result = read(*args, **kwargs)
            self.commit_burst()
            return result

        return wrapper

    def commit_burst(self) -> None:
        """Commit the next burst, if one is left."""
        if self.bursts:
            write(*self.bursts.pop())
            events_committed.send()


class Reader:
    """Subscribes until the stream stops, and stores the ids of the events that it receives."""

    def __init__(self, event_filter: EventFilter, after: int | None) -> None:
        self.filter, self.after = event_filter, after
        self.cursor: int | None = None
        self.received: list[int] = []

    async def read(self, event_stream: EventStream) -> None:
        """Receive events until the stream stops."""
        async with subscribe_to_events(event_stream, self.filter, after=self.after) as subscription:
            self.cursor = subscription.cursor
            async for batch in subscription.batches():
                self.received += [streamed.event.pk for streamed in batch]

    def expected(self) -> list[int]:
        """Return the ids of all stored events that this reader should have received."""
        assert self.cursor is not None
        events = Event.objects.filter(id__gt=self.cursor).order_by("id")
        return [event.pk for event in self.filter.first(events, limit=10_000)]


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition is true."""
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        while not condition():
            await run_in_transaction(ping_database)


reader_arguments = st.tuples(st.sampled_from(FILTERS), st.none() | st.integers(0, 12))
event_burst = st.lists(st.sampled_from(KINDS), min_size=1, max_size=7)


@given(
    subscriptions=st.lists(reader_arguments, min_size=1, max_size=4),
    bursts=st.lists(event_burst, max_size=14),
    before=event_burst,
)
@examples(
    max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_replay_joins_the_live_stream_without_gaps_and_duplicates(
    subscriptions: list[tuple[EventFilter, int | None]], bursts: list[list[tuple[str, str]]], before: list[tuple[str, str]]
) -> None:
    base = (await commit(*before))[0] - 1
    readers = [Reader(event_filter, None if after is None else base + after) for event_filter, after in subscriptions]
    writer, event_stream = Writer(bursts), EventStream()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "PAGE_SIZE", 3)
        for read in ("run_lookup", "run_in_read_transaction"):  # the patched reads also write
            patch.setattr(stream, read, run_in_transaction)
        patch.setattr(stream, "events_after", writer.committing_around(events_after))
        patch.setattr(stream, "last_event_id", writer.committing_around(last_event_id))
        async with event_stream.running(), asyncio.TaskGroup() as tasks:
            for reader in readers:
                tasks.create_task(reader.read(event_stream))
            await until(lambda: all(reader.cursor is not None for reader in readers))
            while writer.bursts:
                await run_in_transaction(writer.commit_burst)
            for reader in readers:
                expected = await run_in_transaction(reader.expected)
                await until(lambda: len(reader.received) >= len(expected))  # noqa: B023  # called within this iteration
            event_stream.stop()

    assert [reader.received for reader in readers] == [await run_in_transaction(reader.expected) for reader in readers]
    assert all(reader.after is None or (reader.cursor or 0) <= reader.after for reader in readers)


async def test_a_long_replay_is_not_a_slow_consumer(event_stream: EventStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PAGE_SIZE", 3)
    monkeypatch.setattr(stream, "MAX_BUFFERED_EVENTS", 3)
    ids = await commit(*KINDS * 5)

    received: list[int] = []
    async with subscribe_to_events(event_stream, ALL, after=ids[0] - 1) as subscription:
        async for batch in subscription.batches():
            received += [streamed.event.pk for streamed in batch]
            if len(ids) < 40:
                ids += await commit(*KINDS)
            if len(received) == len(ids):
                break

    assert received == ids


async def test_a_cursor_beyond_the_last_event_starts_with_new_events(event_stream: EventStream) -> None:
    (last,) = await commit(KINDS[0])

    async with subscribe_to_events(event_stream, ALL, after=last + 1000) as subscription:
        batches = subscription.batches()
        waiting = asyncio.ensure_future(anext(batches))
        await until(lambda: subscription.subscriber in event_stream._subscribers)
        (new,) = await commit(KINDS[0])

        assert subscription.cursor == last
        assert [streamed.event.pk for streamed in await waiting] == [new]


# Live events


async def test_an_event_is_serialized_once_for_all_subscribers(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, ALL) as one, subscribe_to_events(event_stream, SHOP) as other:
        await commit(KINDS[0])

        (first,), (second,) = await one.subscriber.take(), await other.subscriber.take()

    assert first is second
    assert first.json is second.json


async def test_each_subscriber_receives_only_matching_events(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, SHOP) as shop, subscribe_to_events(event_stream, CLUB) as club:
        ids = await commit(*KINDS)

        assert await take_ids(shop, 2) == ids[:2]
        assert await take_ids(club, 2) == ids[2:]


async def test_a_filter_can_be_replaced(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, SHOP) as subscription:
        subscription.subscriber.filter = CLUB
        ids = await commit(*KINDS)

        assert await take_ids(subscription, 2) == ids[2:]


async def test_a_slow_consumer_is_ended_and_does_not_delay_others(
    event_stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_BUFFERED_EVENTS", 10)
    async with subscribe_to_events(event_stream, ALL) as slow, subscribe_to_events(event_stream, ALL) as quick:
        for _ in range(5):
            ids = await commit(*KINDS)
            assert await take_ids(quick, len(KINDS)) == ids

        assert slow.subscriber.overflowed.is_set()
        with pytest.raises(SlowConsumer):
            await slow.subscriber.take()


async def test_buffered_events_are_delivered_when_the_server_stops(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, ALL) as subscription, subscribe_to_events(event_stream, ALL) as witness:
        ids = await commit(*KINDS)
        await take_ids(witness, len(ids))
        event_stream.stop()

        assert [[streamed.event.pk for streamed in batch] async for batch in subscription.batches()] == [ids]


async def test_a_subscription_ends_at_once_while_the_server_stops(event_stream: EventStream) -> None:
    (first, *_) = await commit(*KINDS)
    event_stream.stop()

    async with subscribe_to_events(event_stream, ALL) as now, subscribe_to_events(event_stream, ALL, after=first) as since:
        assert [batch async for batch in now.batches()] == []
        assert [batch async for batch in since.batches()] == []


# Waking and polling


@pytest.mark.pitfall(21)
async def test_polls_for_events_without_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "POLL_INTERVAL_SECONDS", 0.05)
    event_stream = EventStream()
    async with event_stream.running(), subscribe_to_events(event_stream, ALL) as subscription:
        ids = await run_in_transaction(write, *KINDS)

        assert await take_ids(subscription, len(KINDS)) == ids


@pytest.mark.pitfall(21)
async def test_loses_no_events_with_a_broken_channel_layer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{BrokenLayer.__module__}.{BrokenLayer.__qualname__}"}}
    monkeypatch.setattr(stream, "POLL_INTERVAL_SECONDS", 0.05)
    event_stream = EventStream()
    async with event_stream.running(), subscribe_to_events(event_stream, ALL) as subscription:
        signaled, unsignaled = await commit(*KINDS), await run_in_transaction(write, *KINDS)

        assert await take_ids(subscription, 2 * len(KINDS)) == signaled + unsignaled


async def test_a_message_of_another_process_wakes_the_stream(event_stream: EventStream) -> None:
    async with subscribe_to_events(event_stream, ALL) as subscription:
        ids = await run_in_transaction(write, *KINDS)
        await get_channel_layer().group_send(EVENTS_TOPIC, {"type": "notification", "from": "another process"})

        assert await take_ids(subscription, len(KINDS)) == ids


async def test_retries_after_a_database_outage(event_stream: EventStream, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [OperationalError("gone")]

    def fail_once(*args: Any, **kwargs: Any) -> list[Event]:
        if errors:
            raise errors.pop()
        return events_after(*args, **kwargs)

    monkeypatch.setattr(stream, "events_after", fail_once)
    async with subscribe_to_events(event_stream, ALL) as subscription:
        ids = await commit(*KINDS)
        await until(lambda: not errors)
        events_committed.send()

        assert await take_ids(subscription, len(KINDS)) == ids


async def test_a_restarted_stream_forgets_its_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    event_stream = EventStream()
    with monkeypatch.context() as earlier:
        earlier.setattr(stream, "last_event_id", lambda: 10_000_000)
        async with event_stream.running(), subscribe_to_events(event_stream, ALL):
            pass

    async with event_stream.running(), subscribe_to_events(event_stream, ALL) as subscription:
        ids = await commit(*KINDS)
        events_committed.send()

        assert await take_ids(subscription, len(KINDS)) == ids
