"""Accepting mail, and sending it through Django's backends."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.locmem import EmailBackend as InMemory
from django.core.mail.backends.smtp import EmailBackend as Smtp
from django.db import IntegrityError, OperationalError, connection
from pytest_django import Settings

from project.auth.principal import Principal
from project.bridge.database.transactions import call_in_transaction
from project.delivery.claim import claim_emails
from project.delivery.record_results import Attempt, record_results
from project.emails.actions import reschedule_email
from project.emails.mime.builder import Draft
from project.emails.mime.email_addresses import normalize_address
from project.emails.models import Email, Recipient, Tag
from project.emails.status import Status
from project.emails.submit import NewEmail, prepare_email, submit_batch, submit_text_message
from project.events.log import email_queued
from project.transports.django_backend import send_through_backend
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from project.transports.smtp.replies import Reply
from tests.project.conftest import NOW, WORKER, Accept, Claim
from tests.project.transports.fake_relay import Step, fake_relay, order, unsaved_email

LONG_WORD = "x" * 100


class LostRelay(BaseEmailBackend):
    """A transport that always fails."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """As smtplib does when nobody listens."""
        raise ConnectionRefusedError(111, "Connection refused")


class PickyRelay(InMemory):
    """A transport that cannot stand one message."""

    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        """Take all others."""
        if "bad" in messages[0].body:
            raise ValueError("a bad message")
        return super().send_messages(messages)


class IdleRelay(BaseEmailBackend):
    """A transport that sends nothing, and says so."""

    def send_messages(self, _messages: Sequence[EmailMessage]) -> int:
        """As a backend does that swallows its errors."""
        return 0


class SilentRelay(BaseEmailBackend):
    """A transport that does not count."""

    def send_messages(self, _messages: Sequence[EmailMessage]) -> None:  # type: ignore[override]  # there are such
        """Say nothing."""


class OwnSmtp(Smtp):
    """A transport of the operator's own making."""


def backend(transport: type) -> str:
    """The setting."""
    return f"{transport.__module__}.{transport.__qualname__}"


@pytest.fixture
def told() -> Iterator[list[None]]:
    """An entry for each time that whoever delivers is told to look."""
    times: list[None] = []
    with email_queued.subscribed(lambda: times.append(None)):
        yield times


# Accepting


def test_accepts_a_message_as_it_came(accept: Accept) -> None:
    email = accept("Hi\n  there ", address="ada@example.com")

    assert (email.status, email.recipients, email.text) == (Status.QUEUED, ["ada@example.com"], "Hi\n  there ")
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
def test_takes_the_first_line_as_the_subject(accept: Accept, text: str, subject: str) -> None:
    assert accept(text).subject == subject


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("Shop <shop@example.com>", "example.com"),
        ("shop@example.org", "example.org"),
        ('"a@b" <shop@example.net>', "example.net"),
    ],
)
def test_makes_the_message_id_under_the_senders_domain(settings: Settings, sender: str, domain: str) -> None:
    settings.DEFAULT_FROM_EMAIL = sender

    email = Email.objects.get(id=submit_text_message(address="ada@example.com", text="Hi"))

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
def test_an_address_has_a_normal_form(text: str, address: str) -> None:
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
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalize_address(text)


@pytest.mark.usefixtures("lent")
def test_a_mail_is_found_by_each_of_its_recipients_and_tags() -> None:
    draft = Draft("shop@example.com", to=("Ada <ada@example.com>",), cc=("bob@example.com",), bcc=("eve@example.com",), text="Hi")

    submit_batch(
        [prepare_email(NewEmail(draft, tags={"order": "42", "shop": "north"}), now=NOW), prepare_email(order(), now=NOW)]
    )

    email = Email.objects.order_by("id")[0]
    found = Recipient.objects.filter(email=email).values_list("address", flat=True)
    assert sorted(found) == email.recipients == ["ada@example.com", "bob@example.com", "eve@example.com"]
    assert set(Tag.objects.values_list("key", "value", "email")) == {("order", "42", email.id), ("shop", "north", email.id)}


@pytest.mark.parametrize(
    ("hours", "status", "due"),
    [(1, Status.SCHEDULED, NOW + timedelta(hours=1)), (0, Status.QUEUED, None), (-1, Status.QUEUED, None)],
)
def test_a_mail_for_later_waits_for_its_time(hours: int, status: Status, due: datetime | None) -> None:
    mail = prepare_email(replace(order(), scheduled_at=NOW + timedelta(hours=hours)), now=NOW)

    assert (mail.email.status, mail.email.next_attempt_at) == (status, due)


@pytest.mark.usefixtures("lent")
@pytest.mark.parametrize("hours", [1, 0])
def test_whoever_delivers_is_told_of_a_mail_whenever_it_is_due(
    hours: int, told: list[None], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        call_in_transaction(submit_batch, [prepare_email(replace(order(), scheduled_at=NOW + timedelta(hours=hours)), now=NOW)])
        assert told == []

    assert told == [None]


@pytest.mark.usefixtures("lent")
def test_whoever_delivers_is_told_that_a_mail_is_due_at_another_time(
    told: list[None], django_capture_on_commit_callbacks: Any
) -> None:
    shop, later = Principal("key", "shop", frozenset(), "key:1"), NOW + timedelta(hours=1)
    mail = prepare_email(replace(order(), owner_id="key:1", scheduled_at=later), now=NOW)
    call_in_transaction(submit_batch, [mail])

    with django_capture_on_commit_callbacks(execute=True):
        call_in_transaction(reschedule_email, mail.email.id, at=NOW, principal=shop, now=NOW)
        assert told == []

    assert told == [None]


@pytest.mark.usefixtures("lent")
def test_a_batch_is_stored_whole_or_not_at_all() -> None:
    mail = prepare_email(order(), now=NOW)

    with pytest.raises(IntegrityError):
        call_in_transaction(submit_batch, [mail, prepare_email(order(), now=NOW), mail])

    assert not Email.objects.exists()


# Sending


def test_sends_what_was_accepted(claim: Claim, settings: Settings, mailoutbox: list[EmailMessage]) -> None:
    settings.EMAIL_BACKEND = backend(InMemory)
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
def test_a_relay_that_is_not_there_costs_the_mail_no_chance(claim: Claim, settings: Settings) -> None:
    settings.EMAIL_BACKEND = backend(LostRelay)
    email = claim()

    record_results([Attempt(email, send_through_backend(email), NOW)])

    email.refresh_from_db()
    assert (email.status, email.attempts) == (Status.QUEUED, 0)
    assert email.last_error == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert (email.sent_at, email.claimed_by, email.lease_expires_at) == (None, "", None)


@pytest.mark.pitfall(29)
def test_one_bad_message_stops_no_other(accept: Accept, settings: Settings) -> None:
    settings.EMAIL_BACKEND = backend(PickyRelay)
    for text in ("good", "bad", "better"):
        accept(text)

    results = [send_through_backend(email) for email in claim_emails(WORKER, limit=3, now=NOW)]

    assert results == [SendResult(), SendResult("ValueError: a bad message"), SendResult()]
    assert [sent.body for sent in mail.outbox] == ["good", "better"]


def test_a_backend_that_says_it_sent_nothing_may_be_tried_again(claim: Claim, settings: Settings) -> None:
    settings.EMAIL_BACKEND = backend(IdleRelay)

    result = send_through_backend(claim())

    assert result.failure_kind is FailureKind.TEMPORARY
    assert result.error == "NothingSentError: the backend says that it sent no mail, and not why"


def test_a_backend_that_does_not_count_has_sent(claim: Claim, settings: Settings) -> None:
    settings.EMAIL_BACKEND = backend(SilentRelay)

    assert send_through_backend(claim()) == SendResult()


def test_a_database_that_is_away_costs_the_mail_no_chance(claim: Claim) -> None:
    def refuse(*_args: object) -> NoReturn:
        raise OperationalError("too many clients")

    email = claim()
    with connection.execute_wrapper(refuse):
        result = send_through_backend(email)

    assert result == SendResult("OperationalError: too many clients", FailureKind.RELAY_UNAVAILABLE)


@pytest.mark.anyio
@pytest.mark.usefixtures("lent")
async def test_an_smtp_backend_of_ones_own_tells_whom_the_relay_refused(settings: Settings) -> None:
    def refuse_bob(step: Step) -> str | None:
        return {"data": "354 Go on", "rcpt": "550 5.1.1 Nobody" if "bob@" in step.text else None}.get(step.verb)

    settings.EMAIL_BACKEND, settings.EMAIL_HOST = backend(OwnSmtp), "127.0.0.1"
    async with fake_relay(refuse_bob) as relay:
        settings.EMAIL_PORT = relay.port
        result = await asyncio.to_thread(send_through_backend, unsaved_email("ada@example.com", "bob@example.com"))

    assert result == SendResult(rejections={"bob@example.com": Reply(550, "5.1.1 Nobody")})


@pytest.mark.parametrize("name", ["nonsense", "project.nonsense.Backend", "project.emails.models.Nonsense"])
def test_a_transport_that_does_not_exist_fails_the_mail_alone(claim: Claim, settings: Settings, name: str) -> None:
    email = claim()
    settings.EMAIL_BACKEND = name

    assert send_through_backend(email).error.startswith(("ImportError: ", "ModuleNotFoundError: "))


@pytest.mark.parametrize(("subject", "shown"), [("Hi", "Hi (queued)"), ("", "No subject (queued)")])
def test_a_mail_is_shown_by_its_subject(subject: str, shown: str) -> None:
    assert str(Email(subject=subject)) == shown
