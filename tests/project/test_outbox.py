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

from project.accounts.principal import Principal
from project.bridge import database
from project.outbox.accept import (
    Order,
    accept_batch,
    accept_message,
    prepare,
)
from project.outbox.addresses import normal_address
from project.outbox.change import reschedule_email
from project.outbox.claim import claim_emails
from project.outbox.events import queued
from project.outbox.mime import Draft
from project.outbox.models import Email, Recipient, Tag
from project.outbox.outcomes import Outcome
from project.outbox.record import Attempt, record_outcomes
from project.outbox.replies import Reply
from project.outbox.retry import Fault
from project.outbox.states import Status
from project.outbox.transports.django import send_through_backend
from tests.project.conftest import ENGINE, NOW, Accept, Claim
from tests.project.relays import Step, order, relay_that, unstored

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
    with queued.listening(lambda: times.append(None)):
        yield times


# Accepting


def test_accepts_a_message_as_it_came(accept: Accept) -> None:
    email = accept("Hi\n  there ", address="ada@example.com")

    assert (email.status, email.recipients, email.text) == (Status.QUEUED, ["ada@example.com"], "Hi\n  there ")
    assert (email.attempts, email.claimed_by, email.lease_until, email.sent_at) == (0, "", None, None)


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

    email = Email.objects.get(id=accept_message(address="ada@example.com", text="Hi"))

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
    assert normal_address(text) == address


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
        normal_address(text)


@pytest.mark.usefixtures("lent")
def test_a_mail_is_found_by_each_of_its_recipients_and_tags() -> None:
    draft = Draft("shop@example.com", to=("Ada <ada@example.com>",), cc=("bob@example.com",), bcc=("eve@example.com",), text="Hi")

    accept_batch([prepare(Order(draft, tags={"order": "42", "shop": "north"}), now=NOW), prepare(order(), now=NOW)])

    email = Email.objects.order_by("id")[0]
    found = Recipient.objects.filter(email=email).values_list("address", flat=True)
    assert sorted(found) == email.recipients == ["ada@example.com", "bob@example.com", "eve@example.com"]
    assert set(Tag.objects.values_list("key", "value", "email")) == {("order", "42", email.id), ("shop", "north", email.id)}


@pytest.mark.parametrize(
    ("hours", "status", "due"),
    [(1, Status.SCHEDULED, NOW + timedelta(hours=1)), (0, Status.QUEUED, None), (-1, Status.QUEUED, None)],
)
def test_a_mail_for_later_waits_for_its_time(hours: int, status: Status, due: datetime | None) -> None:
    mail = prepare(replace(order(), scheduled_at=NOW + timedelta(hours=hours)), now=NOW)

    assert (mail.email.status, mail.email.next_attempt_at) == (status, due)


@pytest.mark.usefixtures("lent")
@pytest.mark.parametrize("hours", [1, 0])
def test_whoever_delivers_is_told_of_a_mail_whenever_it_is_due(
    hours: int, told: list[None], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        database.call(accept_batch, [prepare(replace(order(), scheduled_at=NOW + timedelta(hours=hours)), now=NOW)])
        assert told == []

    assert told == [None]


@pytest.mark.usefixtures("lent")
def test_whoever_delivers_is_told_that_a_mail_is_due_at_another_time(
    told: list[None], django_capture_on_commit_callbacks: Any
) -> None:
    shop, later = Principal("key", "shop", frozenset(), "key:1"), NOW + timedelta(hours=1)
    mail = prepare(replace(order(), caller_id="key:1", scheduled_at=later), now=NOW)
    database.call(accept_batch, [mail])

    with django_capture_on_commit_callbacks(execute=True):
        database.call(reschedule_email, mail.email.id, at=NOW, caller=shop, now=NOW)
        assert told == []

    assert told == [None]


@pytest.mark.usefixtures("lent")
def test_a_batch_is_stored_whole_or_not_at_all() -> None:
    mail = prepare(order(), now=NOW)

    with pytest.raises(IntegrityError):
        database.call(accept_batch, [mail, prepare(order(), now=NOW), mail])

    assert not Email.objects.exists()


# Sending


def test_sends_what_was_accepted(claim: Claim, settings: Settings, mailoutbox: list[EmailMessage]) -> None:
    settings.EMAIL_BACKEND = backend(InMemory)
    email = claim("Grüße\n\nfrom Ada")

    outcome = send_through_backend(email)

    (sent,) = mailoutbox
    assert outcome == Outcome()
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

    record_outcomes([Attempt(email, send_through_backend(email), NOW)])

    email.refresh_from_db()
    assert (email.status, email.attempts) == (Status.QUEUED, 0)
    assert email.last_error == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert (email.sent_at, email.claimed_by, email.lease_until) == (None, "", None)


@pytest.mark.pitfall(29)
def test_one_bad_message_stops_no_other(accept: Accept, settings: Settings) -> None:
    settings.EMAIL_BACKEND = backend(PickyRelay)
    for text in ("good", "bad", "better"):
        accept(text)

    outcomes = [send_through_backend(email) for email in claim_emails(ENGINE, limit=3, now=NOW)]

    assert outcomes == [Outcome(), Outcome("ValueError: a bad message"), Outcome()]
    assert [sent.body for sent in mail.outbox] == ["good", "better"]


def test_a_backend_that_says_it_sent_nothing_may_be_tried_again(claim: Claim, settings: Settings) -> None:
    settings.EMAIL_BACKEND = backend(IdleRelay)

    outcome = send_through_backend(claim())

    assert outcome.fault is Fault.MESSAGE_TRANSIENT
    assert outcome.error == "NothingSentError: the backend says that it sent no mail, and not why"


def test_a_backend_that_does_not_count_has_sent(claim: Claim, settings: Settings) -> None:
    settings.EMAIL_BACKEND = backend(SilentRelay)

    assert send_through_backend(claim()) == Outcome()


def test_a_database_that_is_away_costs_the_mail_no_chance(claim: Claim) -> None:
    def refuse(*_args: object) -> NoReturn:
        raise OperationalError("too many clients")

    email = claim()
    with connection.execute_wrapper(refuse):
        outcome = send_through_backend(email)

    assert outcome == Outcome("OperationalError: too many clients", Fault.RELAY)


@pytest.mark.anyio
@pytest.mark.usefixtures("lent")
async def test_an_smtp_backend_of_ones_own_tells_whom_the_relay_refused(settings: Settings) -> None:
    def refuse_bob(step: Step) -> str | None:
        return {"data": "354 Go on", "rcpt": "550 5.1.1 Nobody" if "bob@" in step.text else None}.get(step.verb)

    settings.EMAIL_BACKEND, settings.EMAIL_HOST = backend(OwnSmtp), "127.0.0.1"
    async with relay_that(refuse_bob) as relay:
        settings.EMAIL_PORT = relay.port
        outcome = await asyncio.to_thread(send_through_backend, unstored("ada@example.com", "bob@example.com"))

    assert outcome == Outcome(refusals={"bob@example.com": Reply(550, "5.1.1 Nobody")})


@pytest.mark.parametrize("name", ["nonsense", "project.nonsense.Backend", "project.outbox.models.Nonsense"])
def test_a_transport_that_does_not_exist_fails_the_mail_alone(claim: Claim, settings: Settings, name: str) -> None:
    email = claim()
    settings.EMAIL_BACKEND = name

    assert send_through_backend(email).error.startswith(("ImportError: ", "ModuleNotFoundError: "))


@pytest.mark.parametrize(("subject", "shown"), [("Hi", "Hi (queued)"), ("", "No subject (queued)")])
def test_a_mail_is_shown_by_its_subject(subject: str, shown: str) -> None:
    assert str(Email(subject=subject)) == shown
