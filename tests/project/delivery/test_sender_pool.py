"""Sending what was claimed, by as many channels as the transport has."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from errno import EMFILE

import pytest
from django.db import DataError, InternalError, OperationalError
from pytest_django import Settings

from project.bridge.database.transactions import run_in_transaction
from project.delivery import sender_pool as module
from project.delivery.claim import claim_emails
from project.delivery.decision import DeliveryDecision
from project.delivery.record_results import Attempt, record_results
from project.delivery.sender_pool import SenderPool
from project.emails.models import Email
from project.emails.status import Status
from project.transports.base import Transport
from project.transports.factory import SMTP_BACKEND
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply
from project.transports.smtp.transport import SmtpTransport
from tests.processes import PATIENCE
from tests.project.conftest import NOW, WORKER
from tests.project.transports.fake_relay import Step, fake_relay, order, queue, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("lent")]

TAKEN = SendResult(reply=Reply(250, "Taken"))
BOB = "bob@example.com"
NO_ROUTE = SendResult("SMTPConnectError: no route", FailureKind.RELAY_UNAVAILABLE)


@dataclass
class Line:
    """A transport that sends nothing, remembers what it was given, and answers when it may."""

    max_connections: int
    answer: Callable[["Wire"], SendResult] = lambda _wire: TAKEN
    begun: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_in_hand: int = 0
    closed: bool = False
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    wires: list["Wire"] = field(default_factory=list)

    def create_connection(self) -> "Wire":
        """A new one."""
        self.wires.append(Wire(self, len(self.wires)))
        return self.wires[-1]

    def close(self) -> None:
        """Remember it."""
        self.closed = True


@dataclass
class Wire:
    """A channel of it."""

    line: Line
    number: int
    is_open: bool = False
    is_connecting: bool = False

    async def send(self, email: Email) -> SendResult:
        """Take a mail in hand until it may be answered."""
        line = self.line
        line.begun.append(email.text)
        line.in_flight += 1
        line.most_in_hand = max(line.most_in_hand, line.in_flight)
        await line.may_answer.wait()
        line.in_flight -= 1
        result = line.answer(self)
        self.is_open = not result.error
        return result

    async def close(self) -> None:
        """Remember it."""
        self.is_open = False


class Ears:
    """Hears the outcomes."""

    def __init__(self) -> None:
        self.heard: list[SendResult] = []

    async def __call__(self, result: SendResult) -> None:
        """Remember it."""
        self.heard.append(result)


async def claimed(count: int) -> list[Email]:
    """Mails in an engine's hands."""
    await run_in_transaction(queue, *(order(text=str(number)) for number in range(count)))
    return await run_in_transaction(claim_emails, WORKER, limit=count, now=NOW)


async def statuses() -> list[tuple[str, int]]:
    """The status and the attempts of every mail."""
    return await run_in_transaction(lambda: list(Email.objects.order_by("id").values_list("status", "attempts")))


@asynccontextmanager
async def sending_by(transport: Transport) -> AsyncIterator[tuple[SenderPool, Ears]]:
    """Senders at work until the end of the block."""
    ears = Ears()
    senders = SenderPool(transport, ears)
    try:
        yield senders, ears
    finally:
        await senders.stop()


async def test_a_channel_begins_its_next_mail_when_the_outcome_of_the_last_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    committing, may_commit = threading.Event(), threading.Event()

    def slowly(attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
        committing.set()
        assert may_commit.wait(PATIENCE)
        return record_results(attempts)

    monkeypatch.setattr(module, "record_results", slowly)
    line = Line(max_connections=1)
    line.may_answer.set()
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(2))
        await asyncio.to_thread(committing.wait, PATIENCE)
        during = (list(line.begun), senders.in_flight, list(ears.heard))
        may_commit.set()
        await until(lambda: len(ears.heard) == 2)

    assert during == (["0"], 2, [])
    assert (line.begun, senders.in_flight) == (["0", "1"], 0)
    assert await statuses() == [(Status.SENT, 1)] * 2


async def test_no_more_mails_are_in_the_transports_hands_than_it_has_channels() -> None:
    line = Line(max_connections=3)
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(10))
        await until(lambda: line.in_flight == 3)
        during = (senders.waiting, senders.in_flight)
        line.may_answer.set()
        await until(lambda: len(ears.heard) == 10)

    assert (during, line.most_in_hand) == ((7, 10), 3)
    assert await statuses() == [(Status.SENT, 1)] * 10


async def test_outcomes_at_the_same_time_share_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []

    def counting(attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
        together.append(len(attempts))
        return record_results(attempts)

    monkeypatch.setattr(module, "record_results", counting)
    line = Line(max_connections=10)
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(10))
        await until(lambda: line.in_flight == 10)
        line.may_answer.set()
        await until(lambda: len(ears.heard) == 10)

    assert together == [10]


async def test_what_no_channel_has_begun_can_be_taken_back() -> None:
    line = Line(max_connections=2)
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(5))
        await until(lambda: line.in_flight == 2)
        back = senders.withdraw()
        line.may_answer.set()
        await until(lambda: len(ears.heard) == 2)

    assert ([email.text for email in back], line.begun) == (["2", "3", "4"], ["0", "1"])
    assert (senders.in_flight, senders.waiting) == (0, 0)


async def test_what_is_in_hand_at_the_end_is_cut_off_and_stays_claimed() -> None:
    line = Line(max_connections=2)
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(2))
        await until(lambda: line.in_flight == 2)

    assert (ears.heard, line.closed, [wire.is_open for wire in line.wires]) == ([], True, [False, False])
    assert await statuses() == [(Status.SENDING, 1)] * 2


@pytest.mark.parametrize("error", [DataError("it does not fit"), OperationalError("away for longer than the lease")])
async def test_an_outcome_that_cannot_be_written_down_is_no_hindrance_to_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def unwritable(_attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
        raise error

    monkeypatch.setattr(module, "record_results", unwritable)
    monkeypatch.setattr(module, "RECORD_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "LEASE", timedelta(seconds=0.1))
    line = Line(max_connections=1)
    line.may_answer.set()
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(2))
        await until(lambda: len(ears.heard) == 2)

    assert (senders.in_flight, await statuses()) == (0, [(Status.SENDING, 1)] * 2)
    assert caplog.text.count("stays claimed until its lease runs out") == 2


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("the database went away"),
        InternalError("cannot execute UPDATE in a read-only transaction"),
        OSError(EMFILE, "Too many open files"),
    ],
)
async def test_an_outcome_waits_for_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    failures = [error] * 6

    def comes_back(attempts: Sequence[Attempt]) -> list[DeliveryDecision]:
        if failures:
            raise failures.pop()
        return record_results(attempts)

    monkeypatch.setattr(module, "record_results", comes_back)
    monkeypatch.setattr(module, "RECORD_RETRY_SECONDS", 0.0)
    line = Line(max_connections=2)
    line.may_answer.set()
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(2))
        await until(lambda: len(ears.heard) == 2)

    assert await statuses() == [(Status.SENT, 1)] * 2
    assert (len(line.begun), caplog.text.count("waits for the database")) == (2, 2)


# The log


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (TAKEN, "Email sent successfully"),
        (SendResult(reply=Reply(250, "Taken"), rejections={BOB: Reply(550, "5.1.1 No such user")}), "Email sent successfully"),
        (SendResult(reply=Reply(250, "Taken"), rejections={BOB: Reply(451, "4.3.0 No <bob@x> now")}), "is delayed: 451 4.3.0"),
        (
            SendResult("451 4.3.0 Not <bob@x> now", FailureKind.TEMPORARY, Reply(451, "4.3.0 Not <bob@x> now")),
            "is delayed: 451 4.3.0",
        ),
        (SendResult("ValueError: bob@x", FailureKind.PERMANENT), "is failed: ValueError"),
    ],
)
async def test_the_log_says_what_the_mail_is_and_names_nobody(
    result: SendResult, told: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = SMTP_BACKEND
    line = Line(max_connections=1, answer=lambda _wire: result)
    line.may_answer.set()
    await run_in_transaction(queue, order("ada@example.com", BOB))
    with caplog.at_level(logging.INFO):
        async with sending_by(line) as (senders, ears):
            senders.submit(await run_in_transaction(claim_emails, WORKER, limit=1, now=NOW))
            await until(lambda: len(ears.heard) == 1)

    (last,) = [record.getMessage() for record in caplog.records if record.name == __name__][1:]
    assert last.endswith(told)
    assert "bob" not in last


# A relay that takes fewer connections


async def test_a_mail_that_gets_no_connection_beside_one_that_works_goes_by_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT_PAUSE_SECONDS", 3600.0)
    line = Line(max_connections=2, answer=lambda wire: NO_ROUTE if wire.number else TAKEN)
    async with sending_by(line) as (senders, ears):
        line.wires[0].is_open = True
        line.may_answer.set()
        senders.submit(await claimed(5))
        await until(lambda: len(ears.heard) == 5)

    assert ears.heard == [TAKEN] * 5
    assert sorted(line.begun) == ["0", "1", "1", "2", "3", "4"]
    assert await statuses() == [(Status.SENT, 1)] * 5


async def test_a_channel_that_stood_back_tries_again_after_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT_PAUSE_SECONDS", 0.01)
    answers = [NO_ROUTE]
    line = Line(max_connections=2, answer=lambda wire: answers.pop() if wire.number and answers else TAKEN)
    line.may_answer.set()
    async with sending_by(line) as (senders, ears):
        line.wires[0].is_open = True
        senders.submit(await claimed(2))
        await until(lambda: len(ears.heard) == 2)
        line.may_answer.clear()
        senders.submit(await claimed(2))
        await until(lambda: line.in_flight == 2)

    assert answers == []
    assert line.most_in_hand == 2


async def test_a_connection_that_is_never_got_is_hoped_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT_PAUSE_SECONDS", 0.0)
    line = Line(max_connections=2, answer=lambda _wire: NO_ROUTE)
    async with sending_by(line) as (senders, ears):
        line.wires[0].is_connecting = line.wires[1].is_connecting = True  # as with one that begins whenever the other ends
        line.may_answer.set()
        senders.submit(await claimed(2))
        await until(lambda: len(ears.heard) == 2)

    assert ears.heard == [NO_ROUTE] * 2
    assert sorted(line.begun) == ["0", "0", "1", "1"]


async def test_a_channel_that_breaks_its_promise_costs_its_mail_a_try_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def answer(_wire: Wire) -> SendResult:
        if len(line.begun) == 1:
            raise RuntimeError("can't start new thread")
        return TAKEN

    line = Line(max_connections=1, answer=answer)
    line.may_answer.set()
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(2))
        await until(lambda: len(ears.heard) == 2)

    assert await statuses() == [(Status.DELAYED, 1), (Status.SENT, 1)]
    assert "can't start new thread" in caplog.text


async def test_a_relay_that_nobody_reaches_is_told_of() -> None:
    line = Line(max_connections=2, answer=lambda _wire: NO_ROUTE)
    line.may_answer.set()
    async with sending_by(line) as (senders, ears):
        senders.submit(await claimed(3))
        await until(lambda: len(ears.heard) == 3)

    assert ears.heard == [NO_ROUTE] * 3
    assert await statuses() == [(Status.QUEUED, 0)] * 3


async def test_a_relay_that_takes_three_connections_gets_all_mails_over_them() -> None:
    def special(step: Step) -> str | None:
        return "421 4.7.0 Too many connections" if step.verb == "GREETING" and step.open > 3 else None

    async with fake_relay(special) as relay, sending_by(SmtpTransport(relay.relay(connections=8))) as (senders, ears):
        senders.submit(await claimed(40))
        await until(lambda: len(ears.heard) == 40)

    assert [result.error for result in ears.heard] == [""] * 40
    assert len(relay.texts) == 40
    assert await statuses() == [(Status.SENT, 1)] * 40


# Connections that are not needed


async def test_a_connection_that_nobody_needs_is_closed_and_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_TIMEOUT_SECONDS", 0.01)
    async with fake_relay() as relay, sending_by(SmtpTransport(relay.relay())) as (senders, ears):
        for number in (1, 2):
            senders.submit(await claimed(1))
            await until(lambda: len(ears.heard) == number)  # noqa: B023  # it is waited for at once
            await until(lambda: relay.open == 0)

    assert (relay.connections, relay.commands.count("QUIT"), len(relay.texts)) == (2, 2, 2)


async def test_connections_are_closed_at_the_end() -> None:
    async with fake_relay() as relay:
        async with sending_by(SmtpTransport(relay.relay(connections=2))) as (senders, ears):
            senders.submit(await claimed(4))
            await until(lambda: len(ears.heard) == 4)
        await until(lambda: relay.open == 0)

    assert relay.commands.count("QUIT") == relay.connections <= 2
