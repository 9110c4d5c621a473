"""The way in: what takes long is done beside the database, and callers at the same time share commits."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from django.db import connection

from project.bridge import database
from project.outbox import intake as module
from project.outbox.accept import Accepted, Idempotency, IdempotencyKeyReused, Order, Prepared, prepare
from project.outbox.intake import SMALL, Intake
from project.outbox.mime import Attachment
from project.outbox.models import Email, Event
from tests.processes import PATIENCE
from tests.project.relays import order, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("lent")]


@pytest.fixture
def intake() -> Iterator[Intake]:
    """An open one."""
    intake = Intake()
    yield intake
    intake.close()


def keyed(key: str, body: str = "Hi") -> Order:
    """A mail that is sent under a key."""
    return replace(order(text=body), idempotency=Idempotency(key, body))


def large(files: int) -> Order:
    """A mail that takes long to make: for what is in its one file, or for the number of its empty ones."""
    mail = order(text="large")
    return replace(mail, draft=replace(mail.draft, attachments=(Attachment("a.bin", bytes(SMALL if files == 1 else 0)),) * files))


async def texts() -> list[str]:
    """What was accepted, in order."""
    return await database.run(lambda: list(Email.objects.order_by("id").values_list("text", flat=True)))


async def test_accepts_a_mail(intake: Intake) -> None:
    accepted = await intake.accept(order())

    assert (accepted.status, accepted.replayed) == ("queued", False)
    assert await texts() == ["Hi"]
    assert await database.run(lambda: [event.data["email_id"] for event in Event.objects.all()]) == [accepted.id]


@pytest.mark.pitfall(31)
async def test_fifty_callers_with_one_key_at_once_are_one_mail(intake: Intake) -> None:
    answers = await asyncio.gather(*(intake.accept(keyed("42")) for _ in range(50)))

    assert {(answer.id, answer.status, answer.created_at) for answer in answers} == {
        (answers[0].id, "queued", answers[0].created_at)
    }
    assert sum(answer.replayed for answer in answers) == 49
    assert await texts() == ["Hi"]


@pytest.mark.pitfall(31)
async def test_callers_with_one_key_and_batch_at_once_are_one_batch(intake: Intake) -> None:
    orders, asked = [order(text="one"), order(text="other")], Idempotency("42", "both")

    answers = await asyncio.gather(*(intake.accept_batch(orders, asked=asked) for _ in range(10)))

    assert {tuple(each.id for each in answer) for answer in answers} == {tuple(each.id for each in answers[0])}
    assert sum(answer[0].replayed for answer in answers) == 9
    assert await texts() == ["one", "other"]


async def test_the_same_key_at_once_with_another_body_is_refused_alone(intake: Intake) -> None:
    orders = [keyed("42", "one"), keyed("42", "other"), keyed("43", "third"), order(text="fourth")]

    answers = await asyncio.gather(*(intake.accept(each) for each in orders), return_exceptions=True)

    assert [type(answer) for answer in answers] == [Accepted, IdempotencyKeyReused, Accepted, Accepted]
    assert await texts() == ["one", "third", "fourth"]


async def test_callers_at_the_same_time_share_a_transaction(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    transactions: list[int] = []

    def counting(function: object, *args: object) -> object:
        transactions.append(len(args))
        return real_call(function, *args)  # type: ignore[arg-type]  # whatever it is

    real_call = database.call
    monkeypatch.setattr(database, "call", counting)
    await asyncio.gather(*(intake.accept(order()) for _ in range(50)))

    assert len(transactions) == 1


@pytest.mark.parametrize("files", [1, 1000])
async def test_a_large_mail_is_made_beside_the_loop_and_the_database(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    go, places = threading.Event(), []

    def slowly(order: Order, *, now: datetime) -> Prepared:
        places.append((threading.current_thread().name, connection.in_atomic_block))
        assert go.wait(PATIENCE)
        return prepare(order, now=now)

    monkeypatch.setattr(module, "prepare", slowly)
    large_one = asyncio.create_task(intake.accept(large(files)))
    await until(lambda: bool(places))
    monkeypatch.setattr(module, "prepare", prepare)
    await intake.accept(order(text="small"))  # the loop and the database are free
    go.set()
    await large_one

    assert (places, await texts()) == ([("intake-1", False)], ["small", "large"])


async def test_accepts_a_batch_in_order(intake: Intake) -> None:
    accepted = await intake.accept_batch([order(text=str(number)) for number in range(1000)])

    stored = await database.run(lambda: [str(each) for each in Email.objects.order_by("id").values_list("id", flat=True)])
    assert stored == [each.id for each in accepted]
    assert await texts() == [str(number) for number in range(1000)]
