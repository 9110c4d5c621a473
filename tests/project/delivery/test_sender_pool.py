"""The sender pool, which sends claimed emails over the connections of a transport."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from errno import EMFILE
from uuid import UUID

import pytest
from django.db import DataError, InternalError, OperationalError
from pytest_django import Settings

from project.bridge.database.transactions import run_in_transaction
from project.config.mailers import SMTP_BACKEND
from project.delivery import sender_pool as module
from project.delivery.claim import claim_emails
from project.delivery.decision import DeliveryDecision
from project.delivery.record_results import Attempt, record_results
from project.delivery.sender_pool import SenderPool
from project.emails.models import Email
from project.emails.status import Status
from project.transports.base import Transport
from project.transports.raw_message import text_of
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from project.transports.smtp.transport import SmtpTransport
from tests.mailers import use_backend
from tests.processes import WAIT_TIMEOUT_SECONDS
from tests.project.conftest import NOW, WORKER
from tests.project.transports.fake_relay import SmtpStep, fake_relay, new_email, queue, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_test_connection")]

ACCEPTED = SendResult(reply=Reply(250, "Accepted"))
BOB = "bob@example.com"
NO_ROUTE = SendResult("SMTPConnectError: no route", FailureKind.RELAY_UNAVAILABLE)


@dataclass
class FakeTransport:
    """A transport that records emails instead of sending them, and returns results once `may_return` is set."""

    max_connections: int
    name: str = "fake"
    make_result: Callable[["FakeConnection"], SendResult] = lambda _connection: ACCEPTED
    texts: list[str] = field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0
    closed: bool = False
    may_return: asyncio.Event = field(default_factory=asyncio.Event)
    connections: list["FakeConnection"] = field(default_factory=list)
    sending_ids: frozenset[UUID] = frozenset()

    def create_connection(self) -> "FakeConnection":
        """Return a new connection."""
        self.connections.append(FakeConnection(self, len(self.connections)))
        return self.connections[-1]

    def close(self) -> None:
        """Record that the transport was closed."""
        self.closed = True


@dataclass
class FakeConnection:
    """A connection of the fake transport."""

    transport: FakeTransport
    number: int
    is_open: bool = False
    is_connecting: bool = False

    async def send(self, email: Email) -> SendResult:
        """Record the email, wait until the test sets `may_return`, and return the result."""
        transport = self.transport
        transport.texts.append(text_of(bytes(email.raw_message.content)))
        transport.in_flight += 1
        transport.max_in_flight = max(transport.max_in_flight, transport.in_flight)
        await transport.may_return.wait()
        transport.in_flight -= 1
        result = transport.make_result(self)
        self.is_open = not result.error
        return result

    async def close(self) -> None:
        """Mark the connection as closed."""
        self.is_open = False


class ResultRecorder:
    """Callback that records the results that the pool reports."""

    def __init__(self) -> None:
        self.results: list[SendResult] = []

    async def __call__(self, _email: Email, result: SendResult) -> None:
        """Record a result."""
        self.results.append(result)


class FakeGuard:
    """A guard that lets all emails start except the `lost` ones, and records what is being sent."""

    def __init__(self) -> None:
        self.lost: set[UUID] = set()
        self.sending: set[UUID] = set()

    async def may_start(self, email_id: UUID) -> bool:
        """Return whether the email is not lost."""
        return email_id not in self.lost

    def started(self, email_id: UUID) -> None:
        """Record the start."""
        self.sending.add(email_id)

    def ended(self, email_id: UUID) -> None:
        """Record the end."""
        self.sending.discard(email_id)


async def claimed(count: int) -> list[Email]:
    """Queue emails, claim them for a worker, and return them."""
    await run_in_transaction(queue, *(new_email(text=str(number)) for number in range(count)))
    return await run_in_transaction(claim_emails, WORKER, limit=count, now=NOW)


async def statuses() -> list[tuple[str, int]]:
    """Return the status and the number of attempts of every email."""
    return await run_in_transaction(lambda: list(Email.objects.order_by("id").values_list("status", "attempts")))


@asynccontextmanager
async def running_pool(
    transport: Transport, *, guard: FakeGuard | None = None, on_lost: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[SenderPool, ResultRecorder]]:
    """Run a sender pool until the end of the block."""
    recorder = ResultRecorder()
    pool = SenderPool(transport, recorder, guard=guard or FakeGuard(), on_lost=on_lost)
    try:
        yield pool, recorder
    finally:
        await pool.stop()


async def test_a_connection_gets_its_next_email_after_the_commit_of_the_previous_result(monkeypatch: pytest.MonkeyPatch) -> None:
    committing, may_commit = threading.Event(), threading.Event()

    def record_slowly(attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
        committing.set()
        assert may_commit.wait(WAIT_TIMEOUT_SECONDS)
        return record_results(attempts)

    monkeypatch.setattr(module, "record_results", record_slowly)
    transport = FakeTransport(max_connections=1)
    transport.may_return.set()
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(2))
        await asyncio.to_thread(committing.wait, WAIT_TIMEOUT_SECONDS)
        during = (list(transport.texts), pool.in_flight, list(recorder.results))
        may_commit.set()
        await until(lambda: len(recorder.results) == 2)

    assert during == (["0"], 2, [])
    assert (transport.texts, pool.in_flight) == (["0", "1"], 0)
    assert await statuses() == [(Status.SENT, 1)] * 2


async def test_sends_no_more_emails_at_once_than_there_are_connections() -> None:
    transport = FakeTransport(max_connections=3)
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(10))
        await until(lambda: transport.in_flight == 3)
        during = (pool.waiting, pool.in_flight)
        transport.may_return.set()
        await until(lambda: len(recorder.results) == 10)

    assert (during, transport.max_in_flight) == ((7, 10), 3)
    assert await statuses() == [(Status.SENT, 1)] * 10


async def test_simultaneous_results_share_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_sizes: list[int] = []

    def record_and_count(attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
        batch_sizes.append(len(attempts))
        return record_results(attempts)

    monkeypatch.setattr(module, "record_results", record_and_count)
    transport = FakeTransport(max_connections=10)
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(8))
        await until(lambda: transport.in_flight == 8)
        transport.may_return.set()
        await until(lambda: len(recorder.results) == 8)

    assert batch_sizes == [8]


async def test_withdraws_emails_that_wait_for_a_connection() -> None:
    transport = FakeTransport(max_connections=2)
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(5))
        await until(lambda: transport.in_flight == 2)
        withdrawn = pool.withdraw()
        transport.may_return.set()
        await until(lambda: len(recorder.results) == 2)

    assert ([text_of(bytes(email.raw_message.content)) for email in withdrawn], transport.texts) == (["2", "3", "4"], ["0", "1"])
    assert (pool.in_flight, pool.waiting) == (0, 0)


async def test_stop_aborts_emails_that_are_being_sent_and_they_stay_claimed() -> None:
    transport = FakeTransport(max_connections=2)
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(2))
        await until(lambda: transport.in_flight == 2)

    assert (recorder.results, transport.closed, [connection.is_open for connection in transport.connections]) == (
        [],
        True,
        [False, False],
    )
    assert await statuses() == [(Status.SENDING, 1)] * 2


@pytest.mark.parametrize("error", [DataError("it does not fit"), OperationalError("unavailable for longer than the lease")])
async def test_a_result_that_cannot_be_stored_does_not_block_the_next_email(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def raise_error(_attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
        raise error

    monkeypatch.setattr(module, "record_results", raise_error)
    monkeypatch.setattr(module, "RECORD_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "LEASE", timedelta(seconds=0.1))
    transport = FakeTransport(max_connections=1)
    transport.may_return.set()
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(2))
        await until(lambda: len(recorder.results) == 2)

    assert (pool.in_flight, await statuses()) == (0, [(Status.SENDING, 1)] * 2)
    assert caplog.text.count("stays claimed until its lease expires") == 2


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("the database is unavailable"),
        InternalError("cannot execute UPDATE in a read-only transaction"),
        OSError(EMFILE, "Too many open files"),
    ],
)
async def test_a_result_waits_for_an_unavailable_database(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    failures = [error] * 6

    def record_after_failures(attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
        if failures:
            raise failures.pop()
        return record_results(attempts)

    monkeypatch.setattr(module, "record_results", record_after_failures)
    monkeypatch.setattr(module, "RECORD_RETRY_SECONDS", 0.0)
    transport = FakeTransport(max_connections=2)
    transport.may_return.set()
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(2))
        await until(lambda: len(recorder.results) == 2)

    assert await statuses() == [(Status.SENT, 1)] * 2
    assert (len(transport.texts), caplog.text.count("waits for the database")) == (2, 2)


# The log


@pytest.mark.parametrize(
    ("result", "log_line"),
    [
        (ACCEPTED, "Email sent successfully"),
        (SendResult(reply=Reply(250, "Accepted"), rejections={BOB: Reply(550, "5.1.1 No such user")}), "Email sent successfully"),
        (SendResult(reply=Reply(250, "Accepted"), rejections={BOB: Reply(451, "4.3.0 No <bob@x> now")}), "is delayed: 451 4.3.0"),
        (
            SendResult("451 4.3.0 Not <bob@x> now", FailureKind.TEMPORARY, Reply(451, "4.3.0 Not <bob@x> now")),
            "is delayed: 451 4.3.0",
        ),
        (SendResult("ValueError: bob@x", FailureKind.PERMANENT), "is failed: ValueError"),
    ],
)
async def test_logs_the_status_without_addresses(
    result: SendResult, log_line: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    use_backend(settings, SMTP_BACKEND)
    transport = FakeTransport(max_connections=1, make_result=lambda _connection: result)
    transport.may_return.set()
    await run_in_transaction(queue, new_email("ada@example.com", BOB))
    with caplog.at_level(logging.INFO):
        async with running_pool(transport) as (pool, recorder):
            pool.submit(await run_in_transaction(claim_emails, WORKER, limit=1, now=NOW))
            await until(lambda: len(recorder.results) == 1)

    (last,) = [record.getMessage() for record in caplog.records if record.name == module.__name__][1:]
    assert last.endswith(log_line)
    assert "bob" not in last


# A relay that limits connections


async def test_an_email_that_gets_no_connection_is_sent_over_an_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT_PAUSE_SECONDS", 3600.0)
    transport = FakeTransport(max_connections=2, make_result=lambda connection: NO_ROUTE if connection.number else ACCEPTED)
    async with running_pool(transport) as (pool, recorder):
        transport.connections[0].is_open = True
        transport.may_return.set()
        pool.submit(await claimed(5))
        await until(lambda: len(recorder.results) == 5)

    assert recorder.results == [ACCEPTED] * 5
    assert sorted(transport.texts) == ["0", "1", "1", "2", "3", "4"]
    assert await statuses() == [(Status.SENT, 1)] * 5


async def test_a_refused_connection_is_retried_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT_PAUSE_SECONDS", 0.01)
    failures = [NO_ROUTE]
    transport = FakeTransport(
        max_connections=2, make_result=lambda connection: failures.pop() if connection.number and failures else ACCEPTED
    )
    transport.may_return.set()
    async with running_pool(transport) as (pool, recorder):
        transport.connections[0].is_open = True
        pool.submit(await claimed(2))
        await until(lambda: len(recorder.results) == 2)
        transport.may_return.clear()
        pool.submit(await claimed(2))
        await until(lambda: transport.in_flight == 2)

    assert failures == []
    assert transport.max_in_flight == 2


async def test_an_email_is_retried_once_while_other_connections_are_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT_PAUSE_SECONDS", 0.0)
    transport = FakeTransport(max_connections=2, make_result=lambda _connection: NO_ROUTE)
    async with running_pool(transport) as (pool, recorder):
        transport.connections[0].is_connecting = transport.connections[1].is_connecting = (
            True  # as if, whenever one connection failed, the other were being opened
        )
        transport.may_return.set()
        pool.submit(await claimed(2))
        await until(lambda: len(recorder.results) == 2)

    assert recorder.results == [NO_ROUTE] * 2
    assert sorted(transport.texts) == ["0", "0", "1", "1"]


async def test_an_unexpected_error_uses_up_an_attempt_and_the_next_email_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    def fail_once(_connection: FakeConnection) -> SendResult:
        if len(transport.texts) == 1:
            raise RuntimeError("can't start new thread")
        return ACCEPTED

    transport = FakeTransport(max_connections=1, make_result=fail_once)
    transport.may_return.set()
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(2))
        await until(lambda: len(recorder.results) == 2)

    assert await statuses() == [(Status.DELAYED, 1), (Status.SENT, 1)]
    assert "can't start new thread" in caplog.text


async def test_reports_an_unreachable_relay() -> None:
    transport = FakeTransport(max_connections=2, make_result=lambda _connection: NO_ROUTE)
    transport.may_return.set()
    async with running_pool(transport) as (pool, recorder):
        pool.submit(await claimed(3))
        await until(lambda: len(recorder.results) == 3)

    assert recorder.results == [NO_ROUTE] * 3
    assert await statuses() == [(Status.QUEUED, 0)] * 3


async def test_sends_all_emails_over_the_three_connections_that_a_relay_accepts() -> None:
    def limit_connections(step: SmtpStep) -> str | None:
        return "421 4.7.0 Too many connections" if step.verb == "GREETING" and step.open_connections > 3 else None

    async with (
        fake_relay(limit_connections) as relay,
        running_pool(SmtpTransport(relay.relay(connections=8))) as (pool, recorder),
    ):
        pool.submit(await claimed(40))
        await until(lambda: len(recorder.results) == 40)

    assert [result.error for result in recorder.results] == [""] * 40
    assert len(relay.messages) == 40
    assert await statuses() == [(Status.SENT, 1)] * 40


# Idle connections


async def test_closes_an_idle_connection_and_reopens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_TIMEOUT_SECONDS", 0.01)
    async with fake_relay() as relay, running_pool(SmtpTransport(relay.relay())) as (pool, recorder):
        for number in (1, 2):
            pool.submit(await claimed(1))
            await until(lambda: len(recorder.results) == number)  # noqa: B023  # the lambda is used within the same iteration
            await until(lambda: relay.open == 0)

    assert (relay.connections, relay.commands.count("QUIT"), len(relay.messages)) == (2, 2, 2)


async def test_stop_closes_the_connections() -> None:
    async with fake_relay() as relay:
        async with running_pool(SmtpTransport(relay.relay(connections=2))) as (pool, recorder):
            pool.submit(await claimed(4))
            await until(lambda: len(recorder.results) == 4)
        await until(lambda: relay.open == 0)

    assert relay.commands.count("QUIT") == relay.connections <= 2


async def test_does_not_send_an_email_that_another_worker_has_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    transport, guard, lost_events = FakeTransport(max_connections=1), FakeGuard(), list[str]()
    transport.may_return.set()
    emails = await claimed(3)
    guard.lost = {emails[0].id, emails[2].id}
    async with running_pool(transport, guard=guard, on_lost=lambda: lost_events.append("lost")) as (pool, recorder):
        pool.submit(emails)
        await until(lambda: pool.in_flight == 0)

    assert (transport.texts, len(recorder.results), lost_events) == (["1"], 1, ["lost", "lost"])
    assert f"Email {emails[0].id} was taken over by another worker; it is not sent here" in caplog.text


async def test_does_not_queue_an_email_twice_that_is_still_in_flight() -> None:
    transport = FakeTransport(max_connections=2)
    (email,) = await claimed(1)
    async with running_pool(transport) as (pool, recorder):
        pool.submit([email])
        await until(lambda: transport.in_flight == 1)
        pool.submit([email])
        transport.may_return.set()
        await until(lambda: len(recorder.results) == 1)
        left = (pool.waiting, pool.in_flight)

    assert (transport.texts, left) == (["0"], (0, 0))


async def test_reports_which_emails_are_being_sent() -> None:
    transport, guard = FakeTransport(max_connections=1), FakeGuard()
    first, second = await claimed(2)
    async with running_pool(transport, guard=guard) as (pool, recorder):
        pool.submit([first, second])
        await until(lambda: transport.in_flight == 1)
        during = set(guard.sending)
        transport.may_return.set()
        await until(lambda: len(recorder.results) == 2)

    assert (during, guard.sending) == ({first.id}, set())
