"""Failover between relays, with real SMTP servers."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from project.bridge.database.transactions import close_threads, run_in_transaction
from project.config.email_url import parse_email_urls
from project.config.mailers import SMTP_BACKEND
from project.delivery.circuit_breaker import request_probe
from project.delivery.models import RelayOutage
from project.delivery.worker import DeliveryWorker
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from tests.mailers import use_backend
from tests.processes import WAIT_TIMEOUT_SECONDS
from tests.project.transports.fake_relay import new_email, queue, until
from tests.smtp import DROP, Sink, smtp_sink

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_test_connection")]

Relays = tuple[Sink, Sink]


@pytest.fixture
def relays(settings: Settings) -> Iterator[Relays]:
    """Run two relays, which are called `first` and `second` in EMAIL_URL."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(smtp_sink()) for _ in range(2))
        use_backend(settings, SMTP_BACKEND)
        settings.RELAYS = parse_email_urls(f"{first.url}?connections=2&name=first {second.url}?connections=2&name=second")
        yield first, second


@pytest.fixture
def worker(shared_test_connection: None, tmp_path: Path) -> Iterator[DeliveryWorker]:
    """Return a worker that has not started."""
    yield DeliveryWorker(tmp_path / "workers")
    close_threads()


@pytest.fixture
def _long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.delivery.retry_policy.MIN_PAUSE", timedelta(minutes=5))


async def deliver(worker: DeliveryWorker, count: int = 1) -> list[Email]:
    """Queue emails, deliver what is due, and return these emails."""
    await run_in_transaction(queue, *[new_email()] * count)
    await worker.wake_or_deliver()
    return (await run_in_transaction(lambda: list(Email.objects.order_by("-id")[:count])))[::-1]


async def outages() -> list[str]:
    """Return the relays with an outage."""
    return await run_in_transaction(lambda: list(RelayOutage.objects.order_by("relay").values_list("relay", flat=True)))


async def test_uses_only_the_first_relay_while_it_is_available(worker: DeliveryWorker, relays: Relays) -> None:
    emails = await deliver(worker, 20)

    assert ({email.status for email in emails}, {email.relay for email in emails}) == ({Status.SENT}, {"first"})
    assert (len(relays[0].emails), relays[1].connections) == (20, 0)


async def test_passes_over_a_relay_that_is_unavailable(worker: DeliveryWorker, relays: Relays) -> None:
    relays[0].crash()

    emails = await deliver(worker, 20)

    assert [(email.status, email.attempts, email.relay) for email in emails] == [(Status.SENT, 1, "second")] * 20
    assert (len(relays[1].emails), relays[1].duplicates) == (20, 0)


async def test_an_event_names_the_relay_of_its_attempt(worker: DeliveryWorker, relays: Relays) -> None:
    relays[0].crash()
    await deliver(worker)

    events = await run_in_transaction(lambda: list(Event.objects.order_by("id").values_list("type", "data__relay")))

    assert events == [
        ("email.queued", None),
        ("email.sending", None),
        ("email.queued", "first"),
        ("email.sending", None),
        ("email.sent", "second"),
    ]


async def test_uses_the_first_relay_again_when_it_has_recovered(
    worker: DeliveryWorker, relays: Relays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.delivery.retry_policy.MIN_PAUSE", timedelta(seconds=0.1))
    relays[0].crash()
    async with worker.running(grace=WAIT_TIMEOUT_SECONDS):
        await deliver(worker, 3)
        await until(lambda: len(relays[1].emails) == 3)
        relays[0].listen()
        while not relays[0].emails or await outages():
            await deliver(worker)
        await deliver(worker, 5)

    sent_by = await run_in_transaction(lambda: list(Email.objects.order_by("-id").values_list("relay", flat=True)[:5]))
    assert sent_by == ["first"] * 5


@pytest.mark.usefixtures("_long_pause")
async def test_tries_a_relay_again_when_it_is_asked_to(worker: DeliveryWorker, relays: Relays) -> None:
    relays[0].crash()
    async with worker.running(grace=WAIT_TIMEOUT_SECONDS):
        await deliver(worker)
        await until(lambda: len(relays[1].emails) == 1)
        relays[0].listen()
        await run_in_transaction(request_probe, ["second"], now=timezone.now())
        await deliver(worker)
        await until(lambda: len(relays[1].emails) == 2)
        await run_in_transaction(request_probe, ["first"], now=timezone.now())
        await deliver(worker)
        await until(lambda: len(relays[0].emails) == 1)

    assert len(relays[1].emails) == 2


@pytest.mark.parametrize(
    ("reply", "status"),
    [("451 4.3.0 Later", Status.DELAYED), ("550 5.7.1 No", Status.FAILED), (DROP, Status.DELAYED)],
)
async def test_a_reply_to_one_email_causes_no_failover(
    worker: DeliveryWorker, relays: Relays, reply: str, status: Status
) -> None:
    relays[0].at_data = lambda _address, _attempt: reply

    (email,) = await deliver(worker)

    assert (email.status, email.relay, email.attempts) == (status, "first", 1)
    assert (relays[1].connections, await outages()) == (0, [])


@pytest.mark.usefixtures("_long_pause")
async def test_pauses_while_no_relay_is_available(worker: DeliveryWorker, relays: Relays) -> None:
    for relay in relays:
        relay.crash()
    await run_in_transaction(queue, new_email())
    async with worker.running(grace=WAIT_TIMEOUT_SECONDS):
        while len(await outages()) < 2:
            pass
        during = await run_in_transaction(Email.objects.get)

    assert (during.status, during.attempts, await outages()) == (Status.QUEUED, 0, [])
