"""The way in: what takes long is done beside the database, and callers at the same time share commits."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from django.db import connection

from project.bridge.database.transactions import call_in_transaction, run_in_transaction
from project.emails import submission_queue as module
from project.emails.idempotency import Idempotency, IdempotencyKeyReused
from project.emails.mime.builder import Attachment
from project.emails.models import Email
from project.emails.receipts import SubmissionReceipt
from project.emails.submission_queue import MAX_INLINE_SIZE, SubmissionService
from project.emails.submit import NewEmail, PreparedEmail, prepare_email
from project.events.models import Event
from tests.processes import PATIENCE
from tests.project.transports.fake_relay import order, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("lent")]


@pytest.fixture
def submission() -> Iterator[SubmissionService]:
    """An open one."""
    submission = SubmissionService()
    yield submission
    submission.close()


def keyed(key: str, body: str = "Hi") -> NewEmail:
    """A mail that is sent under a key."""
    return replace(order(text=body), idempotency=Idempotency(key, body))


def large(files: int) -> NewEmail:
    """A mail that takes long to make: for what is in its one file, or for the number of its empty ones."""
    mail = order(text="large")
    return replace(
        mail, draft=replace(mail.draft, attachments=(Attachment("a.bin", bytes(MAX_INLINE_SIZE if files == 1 else 0)),) * files)
    )


async def texts() -> list[str]:
    """What was accepted, in order."""
    return await run_in_transaction(lambda: list(Email.objects.order_by("id").values_list("text", flat=True)))


async def test_accepts_a_mail(submission: SubmissionService) -> None:
    accepted = await submission.submit(order())

    assert (accepted.status, accepted.replayed) == ("queued", False)
    assert await texts() == ["Hi"]
    assert await run_in_transaction(lambda: [event.data["email_id"] for event in Event.objects.all()]) == [accepted.id]


@pytest.mark.pitfall(31)
async def test_fifty_callers_with_one_key_at_once_are_one_mail(submission: SubmissionService) -> None:
    answers = await asyncio.gather(*(submission.submit(keyed("42")) for _ in range(50)))

    assert {(answer.id, answer.status, answer.created_at) for answer in answers} == {
        (answers[0].id, "queued", answers[0].created_at)
    }
    assert sum(answer.replayed for answer in answers) == 49
    assert await texts() == ["Hi"]


@pytest.mark.pitfall(31)
async def test_callers_with_one_key_and_batch_at_once_are_one_batch(submission: SubmissionService) -> None:
    orders, asked = [order(text="one"), order(text="other")], Idempotency("42", "both")

    answers = await asyncio.gather(*(submission.submit_batch(orders, idempotency=asked) for _ in range(10)))

    assert {tuple(each.id for each in answer) for answer in answers} == {tuple(each.id for each in answers[0])}
    assert sum(answer[0].replayed for answer in answers) == 9
    assert await texts() == ["one", "other"]


async def test_the_same_key_at_once_with_another_body_is_refused_alone(submission: SubmissionService) -> None:
    orders = [keyed("42", "one"), keyed("42", "other"), keyed("43", "third"), order(text="fourth")]

    answers = await asyncio.gather(*(submission.submit(each) for each in orders), return_exceptions=True)

    assert [type(answer) for answer in answers] == [SubmissionReceipt, IdempotencyKeyReused, SubmissionReceipt, SubmissionReceipt]
    assert await texts() == ["one", "third", "fourth"]


async def test_callers_at_the_same_time_share_a_transaction(
    submission: SubmissionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counting(function: object, *args: object) -> object:
        calls.append(len(args))
        return real_call(function, *args)  # type: ignore[arg-type]  # whatever it is

    real_call = call_in_transaction
    monkeypatch.setattr("project.bridge.database.transactions.call_in_transaction", counting)
    await asyncio.gather(*(submission.submit(order()) for _ in range(50)))

    assert len(calls) == 1


@pytest.mark.parametrize("files", [1, 1000])
async def test_a_large_mail_is_made_beside_the_loop_and_the_database(
    submission: SubmissionService, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    go, places = threading.Event(), []

    def slowly(order: NewEmail, *, now: datetime) -> PreparedEmail:
        places.append((threading.current_thread().name, connection.in_atomic_block))
        assert go.wait(PATIENCE)
        return prepare_email(order, now=now)

    monkeypatch.setattr(module, "prepare_email", slowly)
    large_one = asyncio.create_task(submission.submit(large(files)))
    await until(lambda: bool(places))
    monkeypatch.setattr(module, "prepare_email", prepare_email)
    await submission.submit(order(text="small"))  # the loop and the database are free
    go.set()
    await large_one

    assert (places, await texts()) == ([("submission-1", False)], ["small", "large"])


async def test_accepts_a_batch_in_order(submission: SubmissionService) -> None:
    accepted = await submission.submit_batch([order(text=str(number)) for number in range(1000)])

    stored = await run_in_transaction(lambda: [str(each) for each in Email.objects.order_by("id").values_list("id", flat=True)])
    assert stored == [each.id for each in accepted]
    assert await texts() == [str(number) for number in range(1000)]
