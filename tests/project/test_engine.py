"""The embedded engine, without a server around it. tests/servers/test_delivery.py has the whole of it."""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from project.bridge import database
from project.outbox.accept import accept_message
from project.outbox.claim import claim_emails
from project.outbox.engine import Engine
from project.outbox.instance import alive
from project.outbox.models import Email
from project.outbox.states import Status
from project.outbox.transports.choice import THREADS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("lent")]

GRACE = 20.0


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
def engine(tmp_path: Path) -> Engine:
    """One that has not started."""
    return Engine(tmp_path / "engines")


@pytest.fixture
def _stuck(settings: Settings) -> Iterator[None]:
    StuckRelay.taken.clear()
    StuckRelay.answers.clear()
    settings.EMAIL_BACKEND = f"{StuckRelay.__module__}.{StuckRelay.__qualname__}"
    yield
    StuckRelay.answers.set()


def unreachable(*_args: object, **_kwargs: object) -> NoReturn:
    """What a database that went away does."""
    raise OperationalError("the database went away")


async def accept(count: int = 1) -> None:
    """Queue mails to Ada."""
    for number in range(count):
        await database.run(accept_message, address="ada@example.com", text=str(number))


async def statuses() -> list[tuple[str, int]]:
    """The status and the attempts of every mail."""
    return await database.run(lambda: list(Email.objects.order_by("id").values_list("status", "attempts")))


async def test_is_healthy_while_it_runs(engine: Engine) -> None:
    before = engine.healthy
    async with engine.running(grace=GRACE):
        during = engine.healthy

    assert (before, during, engine.healthy) == (False, True, False)


async def test_delivers_what_was_left_over_before_it_started(engine: Engine) -> None:
    await accept(2)

    async with engine.running(grace=GRACE):
        pass

    assert await statuses() == [(Status.SENT, 1)] * 2


async def test_delivers_what_was_accepted_just_before_its_end(engine: Engine) -> None:
    async with engine.running(grace=GRACE):
        await accept()
        await engine.deliver_soon()

    assert await statuses() == [(Status.SENT, 1)]


async def test_delivers_more_than_it_can_take_in_hand_at_once(engine: Engine) -> None:
    await accept(THREADS + 2)

    await engine.deliver_soon()

    assert await statuses() == [(Status.SENT, 1)] * (THREADS + 2)


async def test_delivers_what_a_dead_engine_had_in_hand(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    await accept()
    with alive(engine.folder) as dead:
        await database.run(claim_emails, dead, limit=1, now=timezone.now())

    async with engine.running(grace=GRACE):
        pass

    assert await statuses() == [(Status.SENT, 2)]
    assert "Put 1 abandoned mails back into the queue" in caplog.text
    assert not (engine.folder / dead).exists()


async def test_leaves_a_living_engine_what_it_has_in_hand(engine: Engine) -> None:
    await accept()

    with alive(engine.folder) as other:
        await database.run(claim_emails, other, limit=1, now=timezone.now())
        async with engine.running(grace=GRACE):
            pass

    assert await statuses() == [(Status.SENDING, 1)]


async def test_survives_a_database_that_went_away(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept()
    with monkeypatch.context() as patched:
        patched.setattr("project.outbox.delivery.claim_emails", unreachable)
        async with engine.running(grace=GRACE):
            pass
    during = await statuses()

    async with engine.running(grace=GRACE):
        pass

    assert (during, await statuses()) == ([(Status.QUEUED, 0)], [(Status.SENT, 1)])
    assert "The engine will look again in 5 s" in caplog.text


async def test_a_mail_whose_outcome_cannot_be_written_down_stays_claimed(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept()
    monkeypatch.setattr("project.outbox.senders.record_outcomes", unreachable)

    await engine.deliver_soon()

    assert await statuses() == [(Status.SENDING, 1)]
    assert "stays claimed until its lease runs out" in caplog.text


@pytest.mark.usefixtures("_stuck")
async def test_ends_when_its_grace_is_over_and_says_what_it_had_in_hand(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    await accept()

    with caplog.at_level(logging.ERROR):
        async with engine.running(grace=0.05):
            await engine.deliver_soon()
            await asyncio.to_thread(StuckRelay.taken.wait)
    StuckRelay.answers.set()

    assert "1 mails in hand after 0.05 s of grace: the next start sends them again" in caplog.text
    assert await statuses() == [(Status.SENDING, 1)]
