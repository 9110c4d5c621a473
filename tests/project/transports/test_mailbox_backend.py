"""The embedded mailbox: what it keeps of a mail, and how it fails on purpose."""

import smtplib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage as Parsed

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection, send_mail

from project.emails.mime.builder import Draft, build_message, envelope_recipients
from project.emails.models import Email, RawMessage
from project.transports.factory import is_local_only
from project.transports.models import MailboxMessage
from project.transports.raw_message import RawEmailMessage

pytestmark = pytest.mark.django_db

NO_MAILBOX = (550, b"5.1.1 No such mailbox")


def parsed(kept: MailboxMessage) -> Parsed:
    """The message as a mail program reads it."""
    message = message_from_bytes(bytes(kept.source), policy=policy.default)
    assert isinstance(message, Parsed)
    return message


def test_keeps_every_recipient() -> None:
    EmailMessage("Hi", "text", "ada@example.com", ["to@example.com"], bcc=["bcc@example.com"], cc=["cc@example.com"]).send()

    assert MailboxMessage.objects.get().recipients == ["to@example.com", "cc@example.com", "bcc@example.com"]


def test_keeps_what_is_read_in_the_admin() -> None:
    EmailMessage(
        "Grüße", "from Ada", "Ada <ada@example.com>", ["to@example.com"], headers={"Message-ID": "<1@example.com>"}
    ).send()

    kept = MailboxMessage.objects.get()
    assert (kept.subject, kept.text, kept.sender) == ("Grüße", "from Ada", "Ada <ada@example.com>")
    assert kept.message_id == "<1@example.com>"


def test_keeps_the_message_as_it_goes_over_the_wire() -> None:
    message = EmailMultiAlternatives("Grüße", "Text: 世界", "ada@example.com", ["to@example.com"], bcc=["bcc@example.com"])
    message.attach_alternative("<p>世界</p>", "text/html")
    message.send()

    source = parsed(MailboxMessage.objects.get())
    assert (source["Subject"], source["To"], source["Bcc"]) == ("Grüße", "to@example.com", None)
    assert [part.get_content().strip() for part in source.walk() if not part.is_multipart()] == ["Text: 世界", "<p>世界</p>"]


def test_keeps_the_message_id_that_is_on_the_wire() -> None:
    send_mail("Hi", "text", None, ["to@example.com"])

    kept = MailboxMessage.objects.get()
    assert kept.message_id == parsed(kept)["Message-ID"]


def test_keeps_many_at_once_in_order() -> None:
    messages = [EmailMessage(subject, "text", "ada@example.com", ["to@example.com"]) for subject in "abc"]

    assert get_connection().send_messages(messages) == 3

    assert [kept.subject for kept in MailboxMessage.objects.order_by("id")] == ["a", "b", "c"]


def test_keeps_nothing_if_there_is_nothing() -> None:
    assert get_connection().send_messages([]) == 0


def test_lets_no_mail_leave_the_machine() -> None:
    assert is_local_only()


@pytest.mark.parametrize(("subject", "shown"), [("Hi", "Hi"), ("", "No subject")])
def test_a_message_is_shown_by_its_subject(subject: str, shown: str) -> None:
    assert str(MailboxMessage(subject=subject)) == shown


# What fails on purpose


def to(*addresses: str) -> EmailMessage:
    """A mail that Django's own code might send."""
    return EmailMessage("Hi", "text", "ada@example.com", list(addresses))


def stored(*addresses: str, attempt: int = 1, html: str | None = None) -> RawEmailMessage:
    """A mail of the outbox, at its `attempt`-th try."""
    draft = Draft(sender="ada@example.com", to=addresses, text=None if html else "Hi", html=html)
    email = Email(sender=draft.sender, to=list(addresses), recipients=envelope_recipients(draft), attempts=attempt)
    RawMessage(email=email, content=build_message(draft, message_id="<1@example.com>", date=datetime(2026, 12, 1, tzinfo=UTC)))
    return RawEmailMessage(email, get_connection(), recipients=email.recipients)


def test_refuses_a_mail_that_nobody_takes() -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refusal:
        to("Ada <bounce@simulator.test>", "full@simulator.test").send()

    assert refusal.value.recipients == {
        "Ada <bounce@simulator.test>": NO_MAILBOX,
        "full@simulator.test": (452, b"4.2.2 Mailbox full"),
    }
    assert not MailboxMessage.objects.exists()


@pytest.mark.parametrize("make", [to, stored])
def test_keeps_a_mail_for_those_who_take_it(make: Callable[..., EmailMessage]) -> None:
    assert make("bounce@simulator.test", "ada@b.example").send() == 1

    assert MailboxMessage.objects.get().recipients == ["ada@b.example"]


def test_tells_whom_it_refused() -> None:
    message = stored("bounce+a@simulator.test", "delivered@simulator.test")

    message.send()

    assert message.refused == message.collect_rejections() == {"bounce+a@simulator.test": NO_MAILBOX}


def test_refuses_nobody_without_a_reason() -> None:
    message = stored("ada@example.com")

    message.send()

    assert message.refused == {}


def test_a_full_mailbox_takes_the_third_try() -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        stored("full@simulator.test", attempt=2).send()

    assert stored("full@simulator.test", attempt=3).send() == 1


def test_loses_the_connection() -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        to("drop@simulator.test", "ada@example.com").send()

    assert not MailboxMessage.objects.exists()


def test_takes_the_time_of_the_slowest(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    to("slow+2@simulator.test", "slow+7@simulator.test", "ada@example.com").send()

    assert slept == [7]
    assert len(MailboxMessage.objects.get().recipients) == 3


def test_keeps_what_came_before_a_failure() -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        get_connection().send_messages([to("ada@example.com"), to("bounce@simulator.test"), to("bob@example.com")])

    assert [kept.recipients for kept in MailboxMessage.objects.all()] == [["ada@example.com"]]


def test_fails_silently_if_asked_to() -> None:
    connection = get_connection(fail_silently=True)

    assert connection.send_messages([to("bounce@simulator.test"), to("ada@example.com")]) == 1


def test_keeps_the_text_that_was_made_from_html() -> None:
    stored("b@example.com", html="<p>Hello</p>").send()

    assert MailboxMessage.objects.get().text == "Hello"
