"""The embedded mailbox: what it keeps of a mail."""

from email import message_from_bytes, policy
from email.message import EmailMessage as Parsed

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection, send_mail

from project.outbox.deliver import stays_here
from project.outbox.models import MailboxMessage

pytestmark = pytest.mark.django_db


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
    assert stays_here()


@pytest.mark.parametrize(("subject", "shown"), [("Hi", "Hi"), ("", "No subject")])
def test_a_message_is_shown_by_its_subject(subject: str, shown: str) -> None:
    assert str(MailboxMessage(subject=subject)) == shown
