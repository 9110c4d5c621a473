"""The delivery worker in this process, without a server. tests/servers/delivery/test_delivery.py tests it with a server."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from project.bridge.database.read_transactions import run_lookup
from project.bridge.database.transactions import _shared_connection_lock, close_threads, run_in_transaction
from project.config.email_url import Relay
from project.config.mailers import SMTP_BACKEND
from project.delivery.circuit_breaker import MIN_SUSPECTED_EMAILS, request_probe
from project.delivery.claim import claim_emails
from project.delivery.lease import LEASE, LeaseTiming
from project.delivery.lease_keeper import LeaseKeeper
from project.delivery.liveness import LivenessLock, dead_workers, hold_liveness_lock
from project.delivery.loop import DeliveryLoop
from project.delivery.models import RelayOutage, WorkerHeartbeat
from project.delivery.worker import DeliveryWorker
from project.emails.mime.builder import Draft
from project.emails.models import Email
from project.emails.priority import Priority
from project.emails.status import Status
from project.emails.submit import NewEmail, submit_plain_text_email
from project.events.log import email_queued
from project.events.models import Event
from project.transports.factory import BACKEND_THREADS
from project.transports.result import SendResult
from tests.mailers import use_backend
from tests.processes import WAIT_TIMEOUT_SECONDS, free_port
from tests.project.transports.fake_relay import DISCONNECT, SmtpStep, fake_relay, new_email, queue, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_test_connection")]

GRACE = 20.0

SendTo = Callable[[Relay], None]


class StuckBackend(BaseEmailBackend):
    """An email backend that does not return until the test sets `may_return`."""

    called = threading.Event()
    may_return = threading.Event()

    def send_messages(self, _messages: Sequence[EmailMessage]) -> int:
        """Set `called`, and block until the test sets `may_return`."""
        self.called.set()
        self.may_return.wait()
        return 1


class SlowRecipientConnection:
    """A connection that does not return for recipients at slow.example until the test sets `may_return`."""

    is_open = is_connecting = False

    def __init__(self, may_return: asyncio.Event) -> None:
        self._may_return = may_return

    async def send(self, email: Email) -> SendResult:
        """Return at once for all other recipients."""
        if email.recipients[0].endswith("slow.example"):
            await self._may_return.wait()
        return SendResult()

    async def close(self) -> None:
        """Do nothing."""


class SlowRecipientTransport:
    """A transport of eight connections that are slow for some recipients."""

    name = "slow"
    max_connections = 8
    sending_ids: tuple[UUID, ...] = ()

    def __init__(self) -> None:
        self.may_return = asyncio.Event()

    def create_connection(self) -> SlowRecipientConnection:
        """Return a new connection."""
        return SlowRecipientConnection(self.may_return)

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def worker(shared_test_connection: None, tmp_path: Path) -> Iterator[DeliveryWorker]:
    """Return a worker that has not started. Its database threads end before the test's transaction is rolled back."""
    yield DeliveryWorker(tmp_path / "workers")
    close_threads()


@pytest.fixture
def _stuck_backend(settings: Settings) -> Iterator[None]:
    StuckBackend.called.clear()
    StuckBackend.may_return.clear()
    use_backend(settings, f"{StuckBackend.__module__}.{StuckBackend.__qualname__}")
    yield
    StuckBackend.may_return.set()


@pytest.fixture
def send_to(settings: Settings) -> SendTo:
    """Return a function that configures a relay as the transport."""

    def send_to(relay: Relay) -> None:
        use_backend(settings, SMTP_BACKEND)
        settings.RELAYS = [relay]

    return send_to


def raise_operational_error(*_args: object, **_kwargs: object) -> NoReturn:
    """Raise the error that occurs when the database becomes unavailable."""
    raise OperationalError("the database is unavailable")


def from_sender(address: str) -> NewEmail:
    """Return a new email from this address."""
    return NewEmail(Draft(address, to=("ada@example.com",), subject="Hi", text="Hi"))


async def run_loop_once(lock: LivenessLock, folder: Path) -> None:
    """Deliver due emails with a new loop for the worker that holds `lock`."""
    loop = DeliveryLoop(lock, folder, poll_interval=GRACE)
    async with loop.running(lambda: GRACE):
        await loop.deliver_due()


async def queue_emails(count: int = 1) -> None:
    """Queue emails to Ada."""
    for number in range(count):
        await run_in_transaction(submit_plain_text_email, address="ada@example.com", text=str(number))


def _is_waiting(worker: DeliveryWorker) -> bool:
    """Return whether the worker's loop has polled and waits for a wake-up."""
    return worker._loop is not None and bool(worker._loop._wake_up._waiters)


async def outages() -> list[int]:
    """Return the number of consecutive failures of each stored outage."""
    return await run_in_transaction(lambda: list(RelayOutage.objects.values_list("failures", flat=True)))


async def is_available() -> bool:
    """Return whether no outage is stored."""
    return await outages() == []


async def statuses() -> list[tuple[str, int]]:
    """Return the status and the number of attempts of every email."""
    return await run_in_transaction(lambda: list(Email.objects.order_by("id").values_list("status", "attempts")))


async def all_sent() -> bool:
    """Return whether every email is sent."""
    return {status for status, _attempts in await statuses()} == {Status.SENT}


async def wait_until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until `condition()` is true. Raise TimeoutError after `WAIT_TIMEOUT_SECONDS`."""
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        while not await condition():
            pass


async def test_slow_recipients_do_not_hold_all_connections(worker: DeliveryWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = SlowRecipientTransport()
    monkeypatch.setattr("project.delivery.loop.create_transports", lambda: [transport])
    sent = Email.objects.filter(status=Status.SENT)
    await run_in_transaction(queue, *[new_email("ada@slow.example")] * 60)
    async with worker.running(grace=GRACE):
        for number in (1, 2):
            await run_in_transaction(queue, *[new_email("bob@example.com")] * 10)
            worker.wake()
            while await run_in_transaction(sent.count) < 10 * number:
                pass
        while_slow = await run_in_transaction(sent.filter(recipients=["bob@example.com"]).count)
        transport.may_return.set()
        await wait_until(all_sent)

    assert while_slow == 20


async def test_sends_the_emails_of_one_caller_while_many_old_emails_of_another_fail(
    worker: DeliveryWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def queue_emails_of_two_callers() -> None:
        queue(*[new_email("ada@example.com") for _ in range(400)])
        Email.objects.update(owner="key:1", created_at=timezone.now() - timedelta(days=40_000))
        submit_plain_text_email(address="ada@example.com", text="New")

    monkeypatch.setattr("project.delivery.expiry.BATCH_SIZE", 1)
    await run_in_transaction(queue_emails_of_two_callers)

    await worker.wake_or_deliver()

    types = await run_in_transaction(lambda: list(Event.objects.order_by("id").values_list("type", flat=True)))
    assert (types.count("email.failed"), types.count("email.sent")) == (400, 1)
    assert "email.failed" in types[types.index("email.sent") :]


@pytest.mark.parametrize("lower", [Priority.LOW, Priority.NORMAL])
async def test_an_urgent_email_passes_those_that_were_claimed_before_it(
    worker: DeliveryWorker, monkeypatch: pytest.MonkeyPatch, lower: Priority
) -> None:
    transport = SlowRecipientTransport()
    monkeypatch.setattr("project.delivery.loop.create_transports", lambda: [transport])
    monkeypatch.setattr("project.delivery.waiting_emails.SLOW_SECONDS", 3600.0)  # so only the number of emails makes claims wait
    slow = [new_email(f"ada@{number}.slow.example", priority=lower) for number in range(60)]
    await run_in_transaction(queue, new_email(priority=Priority.HIGH), *slow)
    urgent = Email.objects.filter(status=Status.SENT, priority=Priority.HIGH)
    async with worker.running(grace=GRACE):
        await wait_until(lambda: run_in_transaction(lambda: Email.objects.filter(status=Status.SENDING).count() >= 16))
        await run_in_transaction(queue, *[new_email(priority=Priority.HIGH)] * 20)
        await wait_until(lambda: run_in_transaction(lambda: urgent.count() == 21))
        others = await run_in_transaction(Email.objects.filter(status=Status.SENT, priority=lower).count)
        transport.may_return.set()
        await wait_until(all_sent)

    assert others == 0


async def test_is_healthy_while_it_runs(worker: DeliveryWorker) -> None:
    before = worker.is_healthy
    async with worker.running(grace=GRACE):
        during = worker.is_healthy

    assert (before, during, worker.is_healthy) == (False, True, False)


async def test_a_poll_without_due_emails_looks_for_the_next_one_without_the_write_lock(
    worker: DeliveryWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = list[str]()

    async def record_lookup(function: Callable[[], Any]) -> Any:
        looked_up.append(function.__name__)
        return await run_lookup(function)

    monkeypatch.setattr("project.delivery.loop.run_lookup", record_lookup)
    async with worker.running(grace=GRACE):
        await until(lambda: _is_waiting(worker))

    assert set(looked_up) == {"next_due_at"}


async def test_delivers_emails_queued_before_it_started(worker: DeliveryWorker) -> None:
    await queue_emails(2)

    async with worker.running(grace=GRACE):
        pass

    assert await statuses() == [(Status.SENT, 1)] * 2


async def test_delivers_emails_queued_just_before_it_stops(worker: DeliveryWorker) -> None:
    async with worker.running(grace=GRACE):
        await queue_emails()
        await worker.wake_or_deliver()

    assert await statuses() == [(Status.SENT, 1)]


async def test_delivers_more_emails_than_it_has_threads(worker: DeliveryWorker) -> None:
    await queue_emails(BACKEND_THREADS + 2)

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.SENT, 1)] * (BACKEND_THREADS + 2)


async def test_delivers_emails_claimed_by_a_dead_worker(worker: DeliveryWorker, caplog: pytest.LogCaptureFixture) -> None:
    await queue_emails()
    with hold_liveness_lock(worker.folder) as lock:
        dead = lock.name
        await run_in_transaction(claim_emails, dead, limit=1, now=timezone.now())

    async with worker.running(grace=GRACE):
        pass

    assert await statuses() == [(Status.SENT, 1)]
    assert "Requeued 1 abandoned emails" in caplog.text
    assert not (worker.folder / dead).exists()


@pytest.mark.parametrize("ago", [timedelta(0), 2 * LEASE])  # 2 * LEASE: as if the clock was set forward after the claim
async def test_does_not_deliver_emails_claimed_by_a_live_worker(worker: DeliveryWorker, ago: timedelta) -> None:
    await queue_emails()

    with hold_liveness_lock(worker.folder) as other:
        await run_in_transaction(claim_emails, other.name, limit=1, now=timezone.now() - ago)
        async with worker.running(grace=GRACE):
            pass

    assert await statuses() == [(Status.SENDING, 1)]


async def test_delivers_an_email_that_it_claimed_and_lost_track_of(
    worker: DeliveryWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.delivery.crashes.CRASH_DELAYS", [timedelta(0)])
    await queue_emails()

    with hold_liveness_lock(worker.folder) as lock:
        await run_in_transaction(claim_emails, lock.name, limit=1, now=timezone.now() - 2 * LEASE)
        await run_loop_once(lock, worker.folder)

    assert await statuses() == [(Status.SENT, 1)]


async def test_survives_an_unavailable_database(
    worker: DeliveryWorker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue_emails()
    with monkeypatch.context() as patched:
        patched.setattr("project.delivery.relay_delivery.claim_emails", raise_operational_error)
        async with worker.running(grace=GRACE):
            pass
    during = await statuses()

    async with worker.running(grace=GRACE):
        pass

    assert (during, await statuses()) == ([(Status.QUEUED, 0)], [(Status.SENT, 1)])
    assert "could not poll the queue; trying again in 5 s" in caplog.text


async def test_an_email_whose_result_cannot_be_stored_stays_claimed(
    worker: DeliveryWorker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue_emails()
    monkeypatch.setattr("project.delivery.sender_pool.record_results", raise_operational_error)
    monkeypatch.setattr("project.delivery.sender_pool.LEASE", timedelta(0))

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.SENDING, 1)]
    assert "stays claimed until its lease expires" in caplog.text


@pytest.mark.usefixtures("_stuck_backend")
async def test_stops_after_the_grace_period_and_logs_how_many_emails_are_in_flight(
    worker: DeliveryWorker, caplog: pytest.LogCaptureFixture
) -> None:
    await queue_emails()

    with caplog.at_level(logging.ERROR):
        async with worker.running(grace=0.05):
            await worker.wake_or_deliver()
            await asyncio.to_thread(StuckBackend.called.wait)
    StuckBackend.may_return.set()

    assert "1 emails still in flight after the grace period of 0.05 s; the next start sends them again" in caplog.text
    assert await statuses() == [(Status.SENDING, 1)]


# With a relay


async def test_delivers_many_emails_over_few_connections(worker: DeliveryWorker, send_to: SendTo) -> None:
    await run_in_transaction(queue, *[new_email()] * 200)
    async with fake_relay() as relay:
        send_to(relay.relay(connections=2))

        await worker.wake_or_deliver()

    assert await statuses() == [(Status.SENT, 1)] * 200
    assert (relay.connections, len(relay.messages)) == (2, 200)


async def test_the_next_attempt_goes_only_to_recipients_not_reached_before(
    worker: DeliveryWorker, send_to: SendTo, settings: Settings
) -> None:
    settings.RETRY_DELAYS = (timedelta(0),)
    rejections = ["452 4.2.2 Full"]
    await run_in_transaction(queue, new_email("ada@example.com", "bob@example.com"))
    async with fake_relay(lambda step: rejections.pop() if "bob@" in step.argument[:8] and rejections else None) as relay:
        send_to(relay.relay())

        await worker.wake_or_deliver()

    assert relay.recipients == [["ada@example.com"], ["bob@example.com"]]
    assert await statuses() == [(Status.SENT, 2)]
    types = await run_in_transaction(lambda: list(Event.objects.order_by("id").values_list("type", flat=True)))
    assert types == ["email.queued", "email.sending", "email.sent", "email.delayed", "email.sending", "email.sent"]


async def test_an_unreachable_relay_is_one_failure_and_uses_up_no_attempts(
    worker: DeliveryWorker, send_to: SendTo, caplog: pytest.LogCaptureFixture
) -> None:
    await queue_emails(30)
    send_to(Relay("127.0.0.1", free_port(), connections=10))

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.QUEUED, 0)] * 30
    assert caplog.text.count("The relay is unavailable") == 1


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "MESSAGE"])
@pytest.mark.parametrize("reply", ["530 5.7.0 Log in first", "421 4.3.2 Closing", "451 4.3.0 Not this one", DISCONNECT])
async def test_emails_that_the_relay_never_accepts_do_not_stop_the_others(
    worker: DeliveryWorker, send_to: SendTo, verb: str, reply: str
) -> None:
    is_bad = False

    def reject_bad(step: SmtpStep) -> str | None:
        nonlocal is_bad
        is_bad = "bad@" in step.argument if step.verb == "MAIL" else is_bad
        return reply if is_bad and step.verb == verb else None

    await run_in_transaction(queue, *[from_sender("bad@example.com")] * 6, *[from_sender("good@example.com")] * 9)
    async with fake_relay(reject_bad) as relay:
        send_to(relay.relay())
        await worker.wake_or_deliver()

    assert await statuses() == [(Status.DELAYED, 1)] * 6 + [(Status.SENT, 1)] * 9


async def test_pauses_when_the_relay_rejects_every_email_and_sends_another_email_with_each_probe(
    worker: DeliveryWorker, send_to: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.delivery.circuit_breaker.MAX_SUSPECTED_PAUSE", timedelta(seconds=0.01))
    await run_in_transaction(queue, *[new_email()] * (MIN_SUSPECTED_EMAILS + 3))
    async with fake_relay(lambda step: "530 5.7.0 Log in first" if step.verb == "MAIL" else None) as relay:
        send_to(relay.relay())
        async with worker.running(grace=GRACE):
            await wait_until(outages)
            await until(lambda: relay.emails_started == MIN_SUSPECTED_EMAILS + 3)

    assert await statuses() == [(Status.DELAYED, 1)] * (MIN_SUSPECTED_EMAILS + 3)


async def test_a_paused_worker_tries_the_relay_when_it_is_asked_to(
    worker: DeliveryWorker, send_to: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.delivery.retry_policy.MIN_PAUSE", timedelta(minutes=5))
    port = free_port()
    send_to(Relay("127.0.0.1", port))
    await queue_emails()
    async with worker.running(grace=GRACE):
        await wait_until(outages)
        async with fake_relay(port=port) as relay:
            paused = await run_in_transaction(request_probe, now=timezone.now())
            email_queued.send()  # as after a commit in this process; notifications do the same for other processes
            await until(lambda: len(relay.messages) == 1)
            await wait_until(is_available)  # before the relay closes, perhaps before its reply arrives

        assert (paused, await run_in_transaction(request_probe, now=timezone.now())) == (1, 0)


async def test_deletes_its_outage_when_it_stops(worker: DeliveryWorker, send_to: SendTo) -> None:
    send_to(Relay("127.0.0.1", free_port()))
    await queue_emails()
    async with worker.running(grace=GRACE):
        await wait_until(outages)

    assert (await outages(), await statuses()) == ([], [(Status.QUEUED, 0)])


async def test_sends_one_email_as_a_probe_and_all_others_after_it(
    worker: DeliveryWorker, send_to: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.delivery.retry_policy.MIN_PAUSE", timedelta(seconds=0.5))
    port = free_port()
    send_to(Relay("127.0.0.1", port, connections=10))
    await queue_emails(30)
    async with worker.running(grace=GRACE):
        await wait_until(outages)
        while_open = await outages()
        async with fake_relay(port=port) as relay:
            relay.may_reply.clear()
            await until(lambda: relay.emails_started == 1)
            for _ in range(3):
                await worker.wake_or_deliver()
                probing = await statuses()
            relay.may_reply.set()
            await until(lambda: len(relay.messages) == 30)
            await wait_until(all_sent)
            after = await outages()

    assert (len(while_open), after) == (1, [])
    assert sorted(probing) == [(Status.QUEUED, 0)] * 29 + [(Status.SENDING, 1)]
    assert await statuses() == [(Status.SENT, 1)] * 30


async def test_does_not_send_emails_whose_claim_was_running_when_the_breaker_opened(
    worker: DeliveryWorker, send_to: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim_after_failure(*args: Any, **kwargs: Any) -> list[Email]:
        loop._relays._deliveries[0].breaker.record_failure("no route", now=timezone.now())
        return claim_emails(*args, **kwargs)

    monkeypatch.setattr("project.delivery.relay_delivery.claim_emails", claim_after_failure)
    await queue_emails(3)
    async with fake_relay() as relay:
        send_to(relay.relay())
        with hold_liveness_lock(worker.folder) as lock:
            loop = DeliveryLoop(lock, worker.folder, poll_interval=GRACE)
            async with loop.running(lambda: GRACE):
                await loop.deliver_due()

    assert (relay.connections, await statuses()) == (0, [(Status.QUEUED, 0)] * 3)


@pytest.mark.parametrize(("grace", "shortened"), [(0.05, 600.0), (600.0, 0.05)])
async def test_requeues_unsent_emails_after_the_grace_period(
    worker: DeliveryWorker, send_to: SendTo, grace: float, shortened: float
) -> None:
    await run_in_transaction(queue, *[new_email()] * 2)
    async with fake_relay() as relay:
        relay.may_reply.clear()
        send_to(relay.relay(connections=1, timeout=600))

        async with asyncio.timeout(GRACE), worker.running(grace=grace):
            await until(lambda: relay.emails_started == 1)
            worker.shorten_grace(shortened)

    assert await statuses() == [(Status.QUEUED, 0)] * 2


@pytest.mark.pitfall(26)
@pytest.mark.parametrize("is_draining", [False, True])
async def test_renews_the_lease_while_a_slow_relay_has_an_email(
    shared_test_connection: None, tmp_path: Path, send_to: SendTo, is_draining: bool
) -> None:
    worker = DeliveryWorker(tmp_path / "workers", timing=LeaseTiming(timedelta(seconds=10)))
    await queue_emails()
    async with fake_relay() as relay:
        relay.may_reply.clear()
        send_to(relay.relay())
        async with nullcontext() if is_draining else worker.running(grace=GRACE):
            draining = asyncio.ensure_future(worker.wake_or_deliver())
            await until(lambda: bool(relay.emails_started))
            await run_in_transaction(lambda: Email.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1)))
            await wait_until(
                lambda: run_in_transaction(lambda: Email.objects.filter(lease_expires_at__gt=timezone.now()).exists())
            )
            relay.may_reply.set()
            await draining

    assert await statuses() == [(Status.SENT, 1)]


async def test_has_a_heartbeat_only_while_it_runs(worker: DeliveryWorker) -> None:
    async with worker.running(grace=GRACE):
        await wait_until(lambda: run_in_transaction(WorkerHeartbeat.objects.exists))

    assert not await run_in_transaction(WorkerHeartbeat.objects.exists)


async def test_is_not_healthy_while_its_loop_hangs(worker: DeliveryWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, may_continue = asyncio.Event(), asyncio.Event()

    async def hang(_keeper: LeaseKeeper) -> None:
        hanging.set()
        await may_continue.wait()

    monkeypatch.setattr(LeaseKeeper, "sweep", hang)
    async with worker.running(grace=GRACE):
        await hanging.wait()
        before = worker.is_healthy
        monkeypatch.setattr("project.delivery.loop.STALLED_AFTER_SECONDS", 0.0)
        during = worker.is_healthy
        may_continue.set()

    assert (before, during) == (True, False)


@pytest.mark.usefixtures("_stuck_backend")
async def test_is_not_healthy_while_every_thread_of_the_backend_hangs(
    worker: DeliveryWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.transports.factory.BACKEND_THREADS", 1)
    await queue_emails()
    async with worker.running(grace=0.0):
        await asyncio.to_thread(StuckBackend.called.wait)
        before = worker.is_healthy
        monkeypatch.setattr("project.delivery.sender_pool.STUCK_AFTER_SECONDS", 0.0)
        during = worker.is_healthy
    StuckBackend.may_return.set()

    assert (before, during) == (True, False)


@pytest.mark.usefixtures("_stuck_backend")
async def test_keeps_its_lock_and_its_claim_while_a_thread_still_sends(worker: DeliveryWorker) -> None:
    await queue_emails()
    async with worker.running(grace=0.0):
        await asyncio.to_thread(StuckBackend.called.wait)

    dead = dead_workers(worker.folder)
    StuckBackend.may_return.set()  # the backend uses the test's connection

    assert dead == []  # so no other worker sends the email meanwhile
    assert await statuses() == [(Status.SENDING, 1)]


async def test_waits_for_a_verdict_about_a_worker_of_another_machine(shared_test_connection: None, tmp_path: Path) -> None:
    worker = DeliveryWorker(tmp_path / "workers", timing=LeaseTiming(timedelta(seconds=3)))
    await queue_emails()
    await run_in_transaction(claim_emails, "elsewhere", limit=1, now=timezone.now() - 2 * LEASE)

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.DELAYED, 0)]


async def test_is_woken_when_any_thread_of_this_process_queues_an_email(shared_test_connection: None, tmp_path: Path) -> None:
    worker = DeliveryWorker(tmp_path / "workers", poll_interval=3600.0)
    async with worker.running(grace=GRACE):
        await until(lambda: _is_waiting(worker))
        await queue_emails()

        await asyncio.to_thread(email_queued.send)

        await wait_until(all_sent)


async def test_the_time_of_a_claim_is_taken_after_the_wait_for_the_write_lock(tmp_path: Path) -> None:
    await queue_emails()
    with hold_liveness_lock(tmp_path) as lock:
        loop = DeliveryLoop(lock, tmp_path, poll_interval=3600.0)
        async with loop.running(lambda: GRACE):
            with _shared_connection_lock:  # as if another transaction held the write lock
                claiming = asyncio.ensure_future(loop._relays.claim())
                await asyncio.sleep(0)  # the claim now waits for the lock
                released_at = timezone.now()
            await claiming

    assert await run_in_transaction(lambda: Event.objects.get(type="email.sending").created_at) >= released_at
