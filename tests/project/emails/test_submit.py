"""Submitting emails, and sending them through Django's email backends."""

import asyncio
import smtplib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from unittest.mock import Mock

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.locmem import EmailBackend as InMemoryBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.db import IntegrityError, OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from project.api_keys.keys import create_key
from project.api_keys.models import ApiKey
from project.auth.principal import Principal
from project.bridge.database.transactions import call_in_transaction
from project.delivery.claim import claim_emails
from project.delivery.record_results import Attempt, record_results
from project.emails.actions import reschedule_email
from project.emails.mime.builder import Draft
from project.emails.mime.email_addresses import normalize_address
from project.emails.models import Email, Recipient, Tag
from project.emails.status import Status
from project.emails.submit import NewEmail, prepare_email, submit_batch, submit_emails, submit_plain_text_email
from project.events.log import email_queued
from project.transports.django_backend import send_through_backend
from project.transports.raw_message import text_of
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.mailers import use_backend
from tests.project.conftest import NOW, WORKER, Claim, SubmitEmail
from tests.project.delivery.test_retry_policy import http_error
from tests.project.transports.fake_relay import SmtpStep, fake_relay, new_email, unsaved_email

LONG_WORD = "x" * 100


class UnreachableBackend(BaseEmailBackend):
    """An email backend that cannot connect."""

    def open(self) -> bool:
        """Raise the error that smtplib raises if the port is closed."""
        raise ConnectionRefusedError(111, "Connection refused")


class FailingBackend(BaseEmailBackend):
    """An email backend that connects, but raises an exception for every message."""

    error: Exception

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Raise the exception that the test chose."""
        raise self.error


class RejectingBackend(InMemoryBackend):
    """An email backend that fails for one message."""

    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        """Raise ValueError if the first body contains "bad". Otherwise, send the messages."""
        if "bad" in messages[0].body:
            raise ValueError("a bad message")
        return super().send_messages(messages)


class ZeroBackend(BaseEmailBackend):
    """An email backend that sends no email and returns 0."""

    def send_messages(self, _messages: Sequence[EmailMessage]) -> int:
        """Return 0, like a backend that swallows its errors."""
        return 0


class NoneBackend(BaseEmailBackend):
    """An email backend that returns None instead of a count."""

    def send_messages(self, _messages: Sequence[EmailMessage]) -> None:  # type: ignore[override]  # some backends return None
        """Return None."""


class CustomSmtpBackend(SmtpBackend):
    """A custom SMTP backend."""


def dotted_path(backend: type) -> str:
    """Return the dotted path of a backend class."""
    return f"{backend.__module__}.{backend.__qualname__}"


@pytest.fixture
def wakeups() -> Iterator[list[None]]:
    """Return a list that gets one entry each time the delivery worker is woken."""
    wakeups: list[None] = []
    with email_queued.subscribed(lambda: wakeups.append(None)):
        yield wakeups


# Submitting


def test_stores_the_message_unchanged(submit_email: SubmitEmail) -> None:
    email = submit_email("Hi\n  there ", address="ada@example.com")

    assert (email.status, email.recipients) == (Status.QUEUED, ["ada@example.com"])
    assert text_of(bytes(email.raw_message.content)) == "Hi\n  there "
    assert (email.attempts, email.claimed_by, email.lease_expires_at, email.sent_at) == (0, "", None, None)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("Hi", "Hi"),
        ("Hi Ada\nHow are you?", "Hi Ada"),
        ("\n\n  Hi \t Ada\r\nHow are you?", "Hi Ada"),
        ("Hi\rBcc: stranger@example.com", "Hi Bcc: stranger@example.com"),
        ("Hi\u2028Ada\x0b\x85!", "Hi Ada !"),
        (LONG_WORD, LONG_WORD[:78]),
        ("  \n ", ""),
    ],
)
def test_derives_the_subject_from_the_first_line(submit_email: SubmitEmail, text: str, subject: str) -> None:
    assert submit_email(text).subject == subject


@pytest.mark.django_db
def test_a_derived_subject_has_no_misleading_characters() -> None:
    email = Email.objects.get(id=submit_plain_text_email(address="ada@example.com", text="\x07\x1b[2KHi\u202e Ada\nBye"))

    assert (email.subject, text_of(bytes(email.raw_message.content))) == ("[2KHi Ada", "\x07\x1b[2KHi\u202e Ada\nBye")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("Shop <shop@example.com>", "example.com"),
        ("shop@example.org", "example.org"),
        ('"a@b" <shop@example.net>', "example.net"),
    ],
)
def test_the_message_id_has_the_domain_of_the_sender(settings: Settings, sender: str, domain: str) -> None:
    settings.DEFAULT_FROM_EMAIL = sender

    email = Email.objects.get(id=submit_plain_text_email(address="ada@example.com", text="Hi"))

    assert email.message_id == f"<{email.id}@{domain}>"
    assert email.sender == sender


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada.L+tag@EXAMPLE.com", "Ada.L+tag@example.com"),
        ("ada@shop.test", "ada@shop.test"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_normalizes_an_address(text: str, address: str) -> None:
    assert normalize_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@example",
        "a b@example.com",
        "ada@example..com",
        "ada@[127.0.0.1]",
        "ü@example.com",
        f"{'a' * 65}@example.com",
        "a\r\n@b.de",
    ],
)
def test_rejects_an_invalid_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalize_address(text)


@pytest.mark.usefixtures("shared_test_connection")
def test_an_email_can_be_found_by_recipients_and_tags() -> None:
    draft = Draft("shop@example.com", to=("Ada <ada@example.com>",), cc=("bob@example.com",), bcc=("eve@example.com",), text="Hi")

    submit_batch(
        [prepare_email(NewEmail(draft, tags={"order": "42", "shop": "north"}), now=NOW), prepare_email(new_email(), now=NOW)]
    )

    email = Email.objects.order_by("id")[0]
    found = Recipient.objects.filter(email=email).values_list("address", flat=True)
    assert sorted(found) == email.recipients == ["ada@example.com", "bob@example.com", "eve@example.com"]
    assert set(Tag.objects.values_list("key", "value", "email")) == {("order", "42", email.id), ("shop", "north", email.id)}


@pytest.mark.parametrize(
    ("hours", "status", "due"),
    [(1, Status.SCHEDULED, NOW + timedelta(hours=1)), (0, Status.QUEUED, None), (-1, Status.QUEUED, None)],
)
def test_only_an_email_with_a_future_time_is_scheduled(hours: int, status: Status, due: datetime | None) -> None:
    prepared = prepare_email(replace(new_email(), scheduled_at=NOW + timedelta(hours=hours)), now=NOW)

    assert (prepared.email.status, prepared.email.next_attempt_at) == (status, due)


@pytest.mark.usefixtures("shared_test_connection")
@pytest.mark.parametrize("hours", [1, 0])
def test_submitting_wakes_the_worker_on_commit(hours: int, wakeups: list[None], django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        call_in_transaction(
            submit_batch, [prepare_email(replace(new_email(), scheduled_at=NOW + timedelta(hours=hours)), now=NOW)]
        )
        assert wakeups == []

    assert wakeups == [None]


@pytest.mark.usefixtures("shared_test_connection")
def test_rescheduling_wakes_the_worker_on_commit(wakeups: list[None], django_capture_on_commit_callbacks: Any) -> None:
    principal, later = Principal("key", "shop", frozenset(), "key:1"), NOW + timedelta(hours=1)
    prepared = prepare_email(replace(new_email(), owner_id="key:1", scheduled_at=later), now=NOW)
    call_in_transaction(submit_batch, [prepared])

    with django_capture_on_commit_callbacks(execute=True):
        call_in_transaction(reschedule_email, prepared.email.id, at=NOW, principal=principal, now=NOW)
        assert wakeups == []

    assert wakeups == [None]


@pytest.mark.usefixtures("shared_test_connection")
def test_stores_all_emails_of_a_batch_or_none() -> None:
    prepared = prepare_email(new_email(), now=NOW)

    with pytest.raises(IntegrityError):
        call_in_transaction(submit_batch, [prepared, prepare_email(new_email(), now=NOW), prepared])

    assert not Email.objects.exists()


# Sending


def test_sends_the_stored_message(claim: Claim, settings: Settings, mailoutbox: list[EmailMessage]) -> None:
    use_backend(settings, dotted_path(InMemoryBackend))
    email = claim("Grüße\n\nfrom Ada")

    result = send_through_backend(email)

    (sent,) = mailoutbox
    assert result == SendResult()
    assert (sent.subject, sent.body, sent.to, sent.from_email) == (
        "Grüße",
        "Grüße\n\nfrom Ada",
        ["ada@example.com"],
        email.sender,
    )
    assert sent.message()["Message-ID"] == email.message_id


@pytest.mark.pitfall(29)
def test_an_unreachable_relay_uses_up_no_attempt(claim: Claim, settings: Settings) -> None:
    use_backend(settings, dotted_path(UnreachableBackend))
    email = claim()

    record_results([Attempt(email, send_through_backend(email), NOW)])

    email.refresh_from_db()
    assert (email.status, email.attempts) == (Status.QUEUED, 0)
    assert email.last_error == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert (email.sent_at, email.claimed_by, email.lease_expires_at) == (None, "", None)


@pytest.mark.pitfall(29)
@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        OSError("no"),
        smtplib.SMTPAuthenticationError(535, b"Wrong login"),
        ImproperlyConfigured("no key"),
        http_error(401),
    ],
    ids=repr,
)
def test_an_error_of_a_backend_that_got_the_message_counts_for_its_email(
    claim: Claim, settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    use_backend(settings, dotted_path(FailingBackend))
    monkeypatch.setattr(FailingBackend, "error", error, raising=False)

    result = send_through_backend(claim())

    assert (result.failure_kind, result.may_be_relay_error) == (FailureKind.TEMPORARY, True)


@pytest.mark.pitfall(29)
def test_a_failing_message_does_not_stop_the_others(submit_email: SubmitEmail, settings: Settings) -> None:
    use_backend(settings, dotted_path(RejectingBackend))
    for text in ("good", "bad", "better"):
        submit_email(text)

    results = [send_through_backend(email) for email in claim_emails(WORKER, limit=3, now=NOW)]

    assert results == [SendResult(), SendResult("ValueError: a bad message"), SendResult()]
    assert [sent.body for sent in mail.outbox] == ["good", "better"]


def test_a_backend_that_returns_zero_is_a_temporary_failure(claim: Claim, settings: Settings) -> None:
    use_backend(settings, dotted_path(ZeroBackend))

    result = send_through_backend(claim())

    assert result.failure_kind is FailureKind.TEMPORARY
    assert result.error == "NoEmailSentError: the backend sent no email and raised no exception"


def test_a_backend_that_returns_none_has_sent_the_message(claim: Claim, settings: Settings) -> None:
    use_backend(settings, dotted_path(NoneBackend))

    assert send_through_backend(claim()) == SendResult()


@pytest.mark.parametrize("error", [OSError("broken pipe"), OperationalError("too many clients"), RuntimeError("closed twice")])
def test_an_email_is_not_sent_again_if_the_backend_fails_to_close(
    claim: Claim, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    use_backend(settings, dotted_path(NoneBackend))
    monkeypatch.setattr(NoneBackend, "close", Mock(side_effect=error))

    assert send_through_backend(claim()) == SendResult()
    assert "failed after it had sent an email" in caplog.text


def test_an_unavailable_database_uses_up_no_attempt(claim: Claim) -> None:
    def raise_error(*_args: object) -> NoReturn:
        raise OperationalError("too many clients")

    email = claim()
    with connection.execute_wrapper(raise_error):
        result = send_through_backend(email)

    assert result == SendResult("OperationalError: too many clients", FailureKind.RELAY_UNAVAILABLE)


@pytest.mark.anyio
@pytest.mark.usefixtures("shared_test_connection")
async def test_a_custom_smtp_backend_reports_rejected_recipients(settings: Settings) -> None:
    def reject_bob(step: SmtpStep) -> str | None:
        return {"data": "354 Go on", "rcpt": "550 5.1.1 Nobody" if "bob@" in step.argument else None}.get(step.verb)

    async with fake_relay(reject_bob) as relay:
        use_backend(settings, dotted_path(CustomSmtpBackend), host="127.0.0.1", port=relay.port)
        result = await asyncio.to_thread(send_through_backend, unsaved_email("ada@example.com", "bob@example.com"))

    assert result == SendResult(rejections={"bob@example.com": Reply(550, "5.1.1 Nobody")})


@pytest.mark.parametrize("name", ["nonsense", "project.nonsense.Backend", "project.emails.models.Nonsense"])
def test_with_an_unknown_backend_emails_stay_queued(claim: Claim, settings: Settings, name: str) -> None:
    email = claim()
    use_backend(settings, name)

    result = send_through_backend(email)

    assert result.error.startswith(("ImportError: ", "ModuleNotFoundError: "))
    assert result.failure_kind is FailureKind.RELAY_UNAVAILABLE


@pytest.mark.parametrize(("subject", "expected"), [("Hi", "Hi (queued)"), ("", "No subject (queued)")])
def test_the_string_of_an_email_has_its_subject_and_status(subject: str, expected: str) -> None:
    assert str(Email(subject=subject)) == expected


@pytest.mark.usefixtures("shared_test_connection")
@pytest.mark.parametrize("submit", [submit_emails, lambda prepared: [submit_batch([each])[0] for each in prepared]])
def test_the_quota_counts_by_the_time_of_the_transaction(submit: Callable[..., Any]) -> None:
    """Emails are prepared before the transaction, so around midnight their times may be on different days."""
    create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(daily_quota=10)
    key, midnight = ApiKey.objects.get(), datetime(2020, 1, 1, tzinfo=UTC)
    times = [midnight + timedelta(seconds=1 if number % 2 else -1) for number in range(10)]

    submit([prepare_email(replace(new_email(), quota_key=key.pk), now=now) for now in times])

    key.refresh_from_db()
    assert (key.quota_used, key.quota_day) == (10, timezone.now().date())


@pytest.mark.django_db
def test_stores_the_text_and_the_html_only_in_the_message() -> None:
    draft = replace(new_email(text="Hello").draft, html="<p>Hello</p>", subject="")

    (result,) = submit_batch([prepare_email(NewEmail(draft), now=NOW)])

    row = Email.objects.get(id=result.id)
    assert (row.text, row.html) == ("", "")
    assert bytes(row.raw_message.content).count(b"Hello") == 2
