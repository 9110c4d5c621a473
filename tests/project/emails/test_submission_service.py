"""SubmissionService: large emails are built in a thread outside the transaction, and concurrent callers share commits."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from django.db import connection

from project.bridge.database.transactions import call_in_transaction, run_in_transaction
from project.emails import submission_service as module
from project.emails.idempotency import Idempotency, IdempotencyKeyReused
from project.emails.mime.builder import Attachment
from project.emails.models import Email, RawMessage
from project.emails.submission_result import SubmissionResult
from project.emails.submission_service import MAX_INLINE_SIZE, SubmissionService
from project.emails.submit import NewEmail, PreparedEmail, prepare_email
from project.events.models import Event
from project.transports.raw_message import text_of
from tests.processes import WAIT_TIMEOUT_SECONDS
from tests.project.transports.fake_relay import new_email, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_test_connection")]


@pytest.fixture
def submission() -> Iterator[SubmissionService]:
    """Return an open SubmissionService, and close it after the test."""
    submission = SubmissionService()
    yield submission
    submission.close()


def with_key(key: str, body: str = "Hi") -> NewEmail:
    """Return an email that is submitted with an idempotency key."""
    return replace(new_email(text=body), idempotency=Idempotency(key, body))


def large(files: int) -> NewEmail:
    """Return an email that is slow to build, because it has one large attachment or many empty attachments."""
    attachments = (Attachment("a.bin", bytes(MAX_INLINE_SIZE if files == 1 else 0)),) * files
    email = new_email(text="large")
    return replace(email, draft=replace(email.draft, attachments=attachments))


async def texts() -> list[str]:
    """Return the texts of the stored emails, in order."""
    messages = await run_in_transaction(lambda: list(RawMessage.objects.order_by("pk")))
    return [text_of(bytes(message.content)) for message in messages]


async def test_accepts_an_email(submission: SubmissionService) -> None:
    result = await submission.submit(new_email())

    assert (result.status, result.replayed) == ("queued", False)
    assert await texts() == ["Hi"]
    assert await run_in_transaction(lambda: [event.data["email_id"] for event in Event.objects.all()]) == [result.id]


@pytest.mark.pitfall(31)
async def test_fifty_concurrent_requests_with_one_key_are_one_email(submission: SubmissionService) -> None:
    results = await asyncio.gather(*(submission.submit(with_key("42")) for _ in range(50)))

    first = results[0]
    assert {(result.id, result.status, result.created_at) for result in results} == {(first.id, "queued", first.created_at)}
    assert sum(result.replayed for result in results) == 49
    assert await texts() == ["Hi"]


@pytest.mark.pitfall(31)
async def test_concurrent_batches_with_one_key_are_one_batch(submission: SubmissionService) -> None:
    emails, idempotency = [new_email(text="one"), new_email(text="other")], Idempotency("42", "both")

    batches = await asyncio.gather(*(submission.submit_batch(emails, idempotency=idempotency) for _ in range(10)))

    assert {tuple(result.id for result in results) for results in batches} == {tuple(result.id for result in batches[0])}
    assert sum(results[0].replayed for results in batches) == 9
    assert await texts() == ["one", "other"]


async def test_rejects_only_the_concurrent_request_with_another_body(submission: SubmissionService) -> None:
    emails = [with_key("42", "one"), with_key("42", "other"), with_key("43", "third"), new_email(text="fourth")]

    results = await asyncio.gather(*(submission.submit(email) for email in emails), return_exceptions=True)

    assert [type(result) for result in results] == [SubmissionResult, IdempotencyKeyReused, SubmissionResult, SubmissionResult]
    assert await texts() == ["one", "third", "fourth"]


async def test_concurrent_requests_share_a_transaction(submission: SubmissionService, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counting_call(function: object, *args: object) -> object:
        calls.append(len(args))
        return real_call(function, *args)  # type: ignore[arg-type]  # the function may have any signature

    real_call = call_in_transaction
    monkeypatch.setattr("project.bridge.database.transactions.call_in_transaction", counting_call)
    await asyncio.gather(*(submission.submit(new_email()) for _ in range(50)))

    assert len(calls) == 1


@pytest.mark.parametrize("files", [1, 1000])
async def test_a_large_email_blocks_neither_the_event_loop_nor_the_database(
    submission: SubmissionService, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    go_on, calls = threading.Event(), []

    def slow_prepare_email(email: NewEmail, *, now: datetime) -> PreparedEmail:
        calls.append((threading.current_thread().name, connection.in_atomic_block))
        assert go_on.wait(WAIT_TIMEOUT_SECONDS)
        return prepare_email(email, now=now)

    monkeypatch.setattr(module, "prepare_email", slow_prepare_email)
    task = asyncio.create_task(submission.submit(large(files)))
    await until(lambda: bool(calls))
    monkeypatch.setattr(module, "prepare_email", prepare_email)
    await submission.submit(new_email(text="small"))  # the slow build blocks neither the event loop nor the database
    go_on.set()
    await task

    assert (calls, await texts()) == ([("submission-1", False)], ["small", "large"])


async def test_accepts_a_batch_in_order(submission: SubmissionService) -> None:
    results = await submission.submit_batch([new_email(text=str(number)) for number in range(1000)])

    stored = await run_in_transaction(lambda: [str(each) for each in Email.objects.order_by("id").values_list("id", flat=True)])
    assert stored == [result.id for result in results]
    assert await texts() == [str(number) for number in range(1000)]
