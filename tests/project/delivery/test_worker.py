"""The embedded engine, without a server around it. tests/servers/test_delivery.py has the whole of it."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from project.bridge.database.transactions import _shared_connection_lock, close_threads, run_in_transaction
from project.config.email_url import Relay
from project.delivery.claim import LEASE, claim_emails
from project.delivery.liveness import hold_liveness_lock
from project.delivery.loop import DeliveryLoop
from project.delivery.models import RelayOutage
from project.delivery.worker import DeliveryWorker
from project.emails.models import Email
from project.emails.status import Status
from project.emails.submit import submit_text_message
from project.events.log import email_queued
from project.events.models import Event
from project.transports.factory import BACKEND_THREADS, SMTP_BACKEND
from tests.processes import PATIENCE, free_port
from tests.project.transports.fake_relay import fake_relay, order, queue, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("lent")]

GRACE = 20.0

SendTo = Callable[[Relay], None]


class StuckRelay(BaseEmailBackend):
    """A transport that does not answer until it is told to."""

    taken = threading.Event()
    answers = threading.Event()

    def send_messages(self, _messages: Sequence[EmailMessage]) -> int:
        """Hang."""
        self.taken.set()
        self.answers.wait()
        return 1


@pytest.fixture
def worker(lent: None, tmp_path: Path) -> Iterator[DeliveryWorker]:
    """One that has not started. All that it asked the database for is done before the test's transaction ends."""
    yield DeliveryWorker(tmp_path / "workers")
    close_threads()


@pytest.fixture
def _stuck(settings: Settings) -> Iterator[None]:
    StuckRelay.taken.clear()
    StuckRelay.answers.clear()
    settings.EMAIL_BACKEND = f"{StuckRelay.__module__}.{StuckRelay.__qualname__}"
    yield
    StuckRelay.answers.set()


@pytest.fixture
def send_to(settings: Settings) -> SendTo:
    """Make a relay the transport."""

    def send_to(relay: Relay) -> None:
        settings.EMAIL_BACKEND, settings.RELAY = SMTP_BACKEND, relay

    return send_to


def unreachable(*_args: object, **_kwargs: object) -> NoReturn:
    """What a database that went away does."""
    raise OperationalError("the database went away")


async def accept(count: int = 1) -> None:
    """Queue mails to Ada."""
    for number in range(count):
        await run_in_transaction(submit_text_message, address="ada@example.com", text=str(number))


def _waits(worker: DeliveryWorker) -> bool:
    """Whether its loop has looked, and waits for what wakes it."""
    return worker._delivery is not None and bool(worker._delivery._wanted._waiters)


async def pauses() -> list[int]:
    """How many failures in a row each pause is for."""
    return await run_in_transaction(lambda: list(RelayOutage.objects.values_list("failures", flat=True)))


async def statuses() -> list[tuple[str, int]]:
    """The status and the attempts of every mail."""
    return await run_in_transaction(lambda: list(Email.objects.order_by("id").values_list("status", "attempts")))


async def all_sent() -> bool:
    """Whether every mail is."""
    return {status for status, _attempts in await statuses()} == {Status.SENT}


async def until_so(question: Callable[[], Awaitable[object]]) -> None:
    """Return as soon as the answer is yes; fail if it is not for `PATIENCE` seconds."""
    async with asyncio.timeout(PATIENCE):
        while not await question():
            pass


async def test_is_healthy_while_it_runs(worker: DeliveryWorker) -> None:
    before = worker.is_healthy
    async with worker.running(grace=GRACE):
        during = worker.is_healthy

    assert (before, during, worker.is_healthy) == (False, True, False)


async def test_delivers_what_was_left_over_before_it_started(worker: DeliveryWorker) -> None:
    await accept(2)

    async with worker.running(grace=GRACE):
        pass

    assert await statuses() == [(Status.SENT, 1)] * 2


async def test_delivers_what_was_accepted_just_before_its_end(worker: DeliveryWorker) -> None:
    async with worker.running(grace=GRACE):
        await accept()
        await worker.wake_or_deliver()

    assert await statuses() == [(Status.SENT, 1)]


async def test_delivers_more_than_it_can_take_in_hand_at_once(worker: DeliveryWorker) -> None:
    await accept(BACKEND_THREADS + 2)

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.SENT, 1)] * (BACKEND_THREADS + 2)


async def test_delivers_what_a_dead_engine_had_in_hand(worker: DeliveryWorker, caplog: pytest.LogCaptureFixture) -> None:
    await accept()
    with hold_liveness_lock(worker.folder) as dead:
        await run_in_transaction(claim_emails, dead, limit=1, now=timezone.now())

    async with worker.running(grace=GRACE):
        pass

    assert await statuses() == [(Status.SENT, 2)]
    assert "Put 1 abandoned mails back into the queue" in caplog.text
    assert not (worker.folder / dead).exists()


@pytest.mark.parametrize("ago", [timedelta(0), 2 * LEASE])  # or the clock was set forward since
async def test_leaves_a_living_engine_what_it_has_in_hand(worker: DeliveryWorker, ago: timedelta) -> None:
    await accept()

    with hold_liveness_lock(worker.folder) as other:
        await run_in_transaction(claim_emails, other, limit=1, now=timezone.now() - ago)
        async with worker.running(grace=GRACE):
            pass

    assert await statuses() == [(Status.SENDING, 1)]


async def test_delivers_what_it_has_itself_lost_sight_of(worker: DeliveryWorker) -> None:
    await accept()

    with hold_liveness_lock(worker.folder) as name:
        await run_in_transaction(claim_emails, name, limit=1, now=timezone.now() - 2 * LEASE)
        delivery = DeliveryLoop(name, worker.folder, poll_interval=GRACE)
        await delivery.deliver_what_is_due()
        await delivery.finish(GRACE)

    assert await statuses() == [(Status.SENT, 2)]


async def test_survives_a_database_that_went_away(
    worker: DeliveryWorker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept()
    with monkeypatch.context() as patched:
        patched.setattr("project.delivery.loop.claim_emails", unreachable)
        async with worker.running(grace=GRACE):
            pass
    during = await statuses()

    async with worker.running(grace=GRACE):
        pass

    assert (during, await statuses()) == ([(Status.QUEUED, 0)], [(Status.SENT, 1)])
    assert "The engine will look again in 5 s" in caplog.text


async def test_a_mail_whose_outcome_cannot_be_written_down_stays_claimed(
    worker: DeliveryWorker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept()
    monkeypatch.setattr("project.delivery.sender_pool.record_results", unreachable)
    monkeypatch.setattr("project.delivery.sender_pool.LEASE", timedelta(0))

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.SENDING, 1)]
    assert "stays claimed until its lease runs out" in caplog.text


@pytest.mark.usefixtures("_stuck")
async def test_ends_when_its_grace_is_over_and_says_what_it_had_in_hand(
    worker: DeliveryWorker, caplog: pytest.LogCaptureFixture
) -> None:
    await accept()

    with caplog.at_level(logging.ERROR):
        async with worker.running(grace=0.05):
            await worker.wake_or_deliver()
            await asyncio.to_thread(StuckRelay.taken.wait)
    StuckRelay.answers.set()

    assert "1 mails in hand after 0.05 s of grace: the next start sends them again" in caplog.text
    assert await statuses() == [(Status.SENDING, 1)]


# With a relay


async def test_delivers_far_more_than_it_takes_in_hand_over_few_connections(worker: DeliveryWorker, send_to: SendTo) -> None:
    await run_in_transaction(queue, *[order()] * 200)
    async with fake_relay() as relay:
        send_to(relay.relay(connections=2))

        await worker.wake_or_deliver()

    assert await statuses() == [(Status.SENT, 1)] * 200
    assert (relay.connections, len(relay.texts)) == (2, 200)


async def test_the_next_try_goes_only_to_whom_the_first_did_not_reach(
    worker: DeliveryWorker, send_to: SendTo, settings: Settings
) -> None:
    settings.RETRY_DELAYS = (timedelta(0),)
    rejections = ["452 4.2.2 Full"]
    await run_in_transaction(queue, order("ada@example.com", "bob@example.com"))
    async with fake_relay(lambda step: rejections.pop() if "bob@" in step.text[:8] and rejections else None) as relay:
        send_to(relay.relay())

        await worker.wake_or_deliver()

    assert relay.recipients == [["ada@example.com"], ["bob@example.com"]]
    assert await statuses() == [(Status.SENT, 2)]
    kinds = await run_in_transaction(lambda: list(Event.objects.order_by("id").values_list("type", flat=True)))
    assert kinds == ["email.queued", "email.sending", "email.delayed", "email.sending", "email.sent"]


async def test_a_relay_that_is_not_there_is_one_failure_and_costs_no_mail_a_try(
    worker: DeliveryWorker, send_to: SendTo, caplog: pytest.LogCaptureFixture
) -> None:
    await accept(30)
    send_to(Relay("127.0.0.1", free_port(), connections=10))

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.QUEUED, 0)] * 30
    assert caplog.text.count("The relay does not work") == 1


async def test_who_has_ended_pauses_no_more(worker: DeliveryWorker, send_to: SendTo) -> None:
    send_to(Relay("127.0.0.1", free_port()))
    await accept()
    async with worker.running(grace=GRACE):
        await until_so(pauses)

    assert (await pauses(), await statuses()) == ([], [(Status.QUEUED, 0)])


async def test_after_a_pause_one_mail_is_sent_to_see_and_then_all(
    worker: DeliveryWorker, send_to: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.delivery.retry_policy.MIN_PAUSE", timedelta(seconds=0.5))
    port = free_port()
    send_to(Relay("127.0.0.1", port, connections=10))
    await accept(30)
    async with worker.running(grace=GRACE):
        await until_so(pauses)
        paused = await pauses()
        async with fake_relay(port=port) as relay:
            relay.may_take.clear()
            await until(lambda: relay.began == 1)
            for _ in range(3):
                await worker.wake_or_deliver()
                probing = await statuses()
            relay.may_take.set()
            await until(lambda: len(relay.texts) == 30)
            await until_so(all_sent)
            after = await pauses()

    assert (len(paused), after) == (1, [])
    assert sorted(probing) == [(Status.QUEUED, 0)] * 29 + [(Status.SENDING, 1)]
    assert await statuses() == [(Status.SENT, 1)] * 30


async def test_what_was_being_claimed_when_a_pause_began_is_not_sent(
    worker: DeliveryWorker, send_to: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim_meanwhile(*args: Any, **kwargs: Any) -> list[Email]:
        delivery._breaker.record_failure("no route", now=timezone.now())
        return claim_emails(*args, **kwargs)

    monkeypatch.setattr("project.delivery.loop.claim_emails", claim_meanwhile)
    await accept(3)
    async with fake_relay() as relay:
        send_to(relay.relay())
        with hold_liveness_lock(worker.folder) as name:
            delivery = DeliveryLoop(name, worker.folder, poll_interval=GRACE)
            await delivery.deliver_what_is_due()
            await delivery.finish(GRACE)

    assert (relay.connections, await statuses()) == (0, [(Status.QUEUED, 0)] * 3)


@pytest.mark.parametrize(("grace", "haste"), [(0.05, 600.0), (600.0, 0.05)])
async def test_at_the_end_of_its_grace_what_it_had_not_begun_is_back_in_the_queue(
    worker: DeliveryWorker, send_to: SendTo, grace: float, haste: float
) -> None:
    await run_in_transaction(queue, *[order()] * 2)
    async with fake_relay() as relay:
        relay.may_take.clear()
        send_to(relay.relay(connections=1, timeout=600))

        async with asyncio.timeout(GRACE), worker.running(grace=grace):
            await until(lambda: relay.began == 1)
            worker.shorten_grace(haste)

    assert await statuses() == [(Status.SENDING, 1), (Status.QUEUED, 0)]


@pytest.mark.pitfall(26)
async def test_says_that_it_is_alive_while_a_slow_relay_has_a_mail(
    worker: DeliveryWorker, send_to: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept()
    async with fake_relay() as relay:
        relay.may_take.clear()
        send_to(relay.relay())
        async with worker.running(grace=GRACE):
            await until(lambda: bool(relay.began))
            await run_in_transaction(lambda: Email.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1)))
            monkeypatch.setattr("project.delivery.loop.SWEEP_INTERVAL_SECONDS", 0.0)  # only now: it must not be amid a sweep
            await worker.wake_or_deliver()
            await until_so(lambda: run_in_transaction(lambda: Email.objects.filter(lease_expires_at__gt=timezone.now()).exists()))
            relay.may_take.set()

    assert await statuses() == [(Status.SENT, 1)]


async def test_is_woken_by_what_is_queued_in_this_process_on_any_thread(lent: None, tmp_path: Path) -> None:
    worker = DeliveryWorker(tmp_path / "workers", poll_interval=3600.0)
    async with worker.running(grace=GRACE):
        await until(lambda: _waits(worker))
        await accept()

        await asyncio.to_thread(email_queued.send)

        await until_so(all_sent)


async def test_the_time_of_a_claim_is_that_of_its_turn(tmp_path: Path) -> None:
    await accept()
    delivery = DeliveryLoop("engine", tmp_path, poll_interval=3600.0)
    with _shared_connection_lock:  # somebody else's turn
        claiming = asyncio.ensure_future(delivery._claim())
        await asyncio.sleep(0)  # it has asked, and waits
        turn = timezone.now()
    await claiming
    await delivery.finish(GRACE)

    assert await run_in_transaction(lambda: Event.objects.get(type="email.sending").created_at) >= turn
