"""A mail's way: accepted, claimed, sent, and what became of it."""

import logging
from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.locmem import EmailBackend as InMemory
from pytest_django import Settings

from project.outbox.accept import accept_message
from project.outbox.addresses import normal_address
from project.outbox.claim import LEASE, claim_emails, renew_leases, requeue_abandoned
from project.outbox.deliver import Outcome, record_outcome, send_email
from project.outbox.models import Email
from project.outbox.replies import Reply
from project.outbox.retry import DELAYS, Fault
from project.outbox.states import Status
from tests.project.conftest import ENGINE, NOW, Accept, Claim

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


def backend(transport: type) -> str:
    """The setting."""
    return f"{transport.__module__}.{transport.__qualname__}"


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


# Claiming


def test_claims_the_oldest_first(accept: Accept) -> None:
    first, second, _third = accept("1"), accept("2"), accept("3")

    claimed = claim_emails(ENGINE, limit=2, now=NOW)

    assert [email.id for email in claimed] == [first.id, second.id]


def test_a_claimed_mail_is_leased_and_counts_one_more_attempt(claim: Claim) -> None:
    email = claim()

    assert (email.status, email.claimed_by, email.lease_until) == (Status.SENDING, ENGINE, NOW + LEASE)
    assert email.attempts == 1


@pytest.mark.pitfall(27)
def test_no_two_engines_claim_the_same_mail(accept: Accept) -> None:
    for text in "12345":
        accept(text)

    one, other = (claim_emails(engine, limit=3, now=NOW) for engine in ("one", "other"))

    assert [len(one), len(other)] == [3, 2]
    assert {email.id for email in one}.isdisjoint(email.id for email in other)


@pytest.mark.parametrize("status", [Status.SENDING, Status.SENT, Status.FAILED])
def test_claims_only_what_is_queued(accept: Accept, status: Status) -> None:
    accept()
    Email.objects.update(status=status)

    assert claim_emails(ENGINE, limit=10, now=NOW) == []


# Putting back


@pytest.mark.pitfall(26)
def test_puts_back_what_a_dead_engine_had_in_hand(claim: Claim) -> None:
    email = claim(engine="dead")

    count = requeue_abandoned(["dead", "long dead"], now=NOW)

    email.refresh_from_db()
    assert count == 1
    assert (email.status, email.claimed_by, email.lease_until, email.attempts) == (Status.QUEUED, "", None, 1)


@pytest.mark.pitfall(26)
def test_puts_back_what_is_held_beyond_its_lease(claim: Claim) -> None:
    email = claim(engine="of another machine")

    requeue_abandoned([], now=NOW + LEASE + timedelta(seconds=1))

    email.refresh_from_db()
    assert email.status == Status.QUEUED


def test_leaves_a_living_engine_its_mail(claim: Claim) -> None:
    email = claim(engine="alive")

    count = requeue_abandoned(["dead"], now=NOW + LEASE)

    email.refresh_from_db()
    assert (count, email.status, email.claimed_by) == (0, Status.SENDING, "alive")


@pytest.mark.parametrize("outcome", [Outcome(), Outcome("it failed")])
def test_puts_nothing_back_that_is_done(claim: Claim, outcome: Outcome) -> None:
    record_outcome(claim(engine="dead"), outcome, now=NOW)

    assert requeue_abandoned(["dead", ""], now=NOW + 2 * LEASE) == 0


@pytest.mark.pitfall(26)
def test_a_living_engine_renews_the_leases_of_what_it_has_in_hand(claim: Claim) -> None:
    mine, other = claim(), claim(engine="of another machine")

    count = renew_leases(ENGINE, now=NOW + LEASE)
    requeue_abandoned([], now=NOW + LEASE + timedelta(seconds=1))

    assert count == 1
    assert Email.objects.get(id=mine.id).status == Status.SENDING
    assert Email.objects.get(id=other.id).status == Status.QUEUED


# Sending


def test_sends_what_was_accepted(claim: Claim, settings: Settings, mailoutbox: list[EmailMessage]) -> None:
    settings.EMAIL_BACKEND = backend(InMemory)
    email = claim("Grüße\n\nfrom Ada")

    outcome = send_email(email)

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

    record_outcome(email, send_email(email), now=NOW)

    email.refresh_from_db()
    assert (email.status, email.attempts) == (Status.QUEUED, 0)
    assert email.last_error == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert (email.sent_at, email.claimed_by, email.lease_until) == (None, "", None)


def test_a_failure_is_logged_by_the_mails_id(claim: Claim, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.EMAIL_BACKEND = backend(LostRelay)
    email = claim("a secret")

    send_email(email)

    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert record.getMessage().startswith(f"Email {email.id} failed")
    assert "Email sent successfully" not in caplog.text


@pytest.mark.pitfall(29)
def test_one_bad_message_stops_no_other(accept: Accept, settings: Settings) -> None:
    settings.EMAIL_BACKEND = backend(PickyRelay)
    for text in ("good", "bad", "better"):
        accept(text)

    outcomes = [send_email(email) for email in claim_emails(ENGINE, limit=3, now=NOW)]

    assert outcomes == [Outcome(), Outcome("ValueError: a bad message"), Outcome()]
    assert [sent.body for sent in mail.outbox] == ["good", "better"]


@pytest.mark.parametrize("name", ["nonsense", "project.nonsense.Backend", "project.outbox.models.Nonsense"])
def test_a_transport_that_does_not_exist_fails_the_mail_alone(claim: Claim, settings: Settings, name: str) -> None:
    email = claim()
    settings.EMAIL_BACKEND = name

    assert send_email(email).error.startswith(("ImportError: ", "ModuleNotFoundError: "))


# Writing down


@pytest.mark.pitfall(28)
def test_a_sent_mail_is_written_down(claim: Claim) -> None:
    email = claim()

    assert record_outcome(email, Outcome(), now=NOW)

    email.refresh_from_db()
    assert (email.status, email.sent_at, email.last_error) == (Status.SENT, NOW, "")
    assert (email.claimed_by, email.lease_until) == ("", None)


def test_a_success_clears_the_error_of_an_earlier_try(claim: Claim) -> None:
    email = claim()
    Email.objects.update(last_error="it failed")

    record_outcome(email, Outcome(), now=NOW)

    assert Email.objects.get().last_error == ""


def test_a_try_that_may_pass_is_followed_by_another(claim: Claim) -> None:
    email = claim()

    record_outcome(email, Outcome("later", Fault.MESSAGE_TRANSIENT, Reply(451, "4.3.0 later")), now=NOW)

    email.refresh_from_db()
    assert (email.status, email.next_attempt_at) == (Status.DELAYED, NOW + timedelta(minutes=1))
    assert claim_emails(ENGINE, limit=1, now=NOW + timedelta(seconds=59)) == []
    assert claim_emails(ENGINE, limit=1, now=NOW + timedelta(seconds=60)) == [email]


def test_a_relay_that_asks_to_wait_is_left_alone_for_so_long(claim: Claim) -> None:
    email = claim()

    record_outcome(email, Outcome("later", Fault.MESSAGE_TRANSIENT, Reply(451, "try again in 10 minutes")), now=NOW)

    email.refresh_from_db()
    assert email.next_attempt_at == NOW + timedelta(minutes=10)


def test_a_mail_that_has_had_its_chances_fails(claim: Claim) -> None:
    email = claim()
    email.attempts = len(DELAYS) + 1

    record_outcome(email, Outcome("later", Fault.MESSAGE_TRANSIENT), now=NOW)

    email.refresh_from_db()
    assert (email.status, email.next_attempt_at) == (Status.FAILED, None)


def test_an_event_tells_what_the_relay_said(claim: Claim) -> None:
    email = claim()

    record_outcome(email, Outcome("no", Fault.MESSAGE_PERMANENT, Reply(550, "5.1.1 no such user")), now=NOW)

    event = email.events.last()
    assert event is not None
    assert (event.type, event.data["smtp_code"], event.data["response"]) == ("email.failed", 550, "5.1.1 no such user")


@pytest.mark.parametrize("outcome", [Outcome(), Outcome("it failed")])
def test_writes_nothing_down_for_a_mail_in_other_hands(claim: Claim, outcome: Outcome) -> None:
    late = claim(engine="late")
    requeue_abandoned(["late"], now=NOW)
    claim_emails("quick", limit=1, now=NOW)

    assert not record_outcome(late, outcome, now=NOW)

    assert (Email.objects.get().status, Email.objects.get().claimed_by) == (Status.SENDING, "quick")


@pytest.mark.parametrize(("subject", "shown"), [("Hi", "Hi (queued)"), ("", "No subject (queued)")])
def test_a_mail_is_shown_by_its_subject(subject: str, shown: str) -> None:
    assert str(Email(subject=subject)) == shown
