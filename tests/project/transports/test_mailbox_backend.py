"""The embedded mailbox: the messages it stores, and the simulated failures of its test addresses."""

import smtplib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage as ParsedMessage

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives, send_mail

from project.emails.mime.builder import Draft, build_message, envelope_recipients
from project.emails.models import Email, RawMessage
from project.transports.factory import delivers_only_locally
from project.transports.mailbox_backend import MailboxBackend
from project.transports.models import MailboxMessage
from project.transports.raw_message import RawEmailMessage
from tests.mailers import send_through

pytestmark = pytest.mark.django_db

MAILBOX = f"{MailboxBackend.__module__}.{MailboxBackend.__qualname__}"
NO_MAILBOX = (550, b"5.1.1 No such mailbox")


def parse(row: MailboxMessage) -> ParsedMessage:
    """Return the message as an email client parses it."""
    message = message_from_bytes(bytes(row.source), policy=policy.default)
    assert isinstance(message, ParsedMessage)
    return message


def test_stores_every_recipient() -> None:
    EmailMessage("Hi", "text", "ada@example.com", ["to@example.com"], bcc=["bcc@example.com"], cc=["cc@example.com"]).send()

    assert MailboxMessage.objects.get().recipients == ["to@example.com", "cc@example.com", "bcc@example.com"]


def test_stores_the_fields_that_the_admin_shows() -> None:
    EmailMessage(
        "Grüße", "from Ada", "Ada <ada@example.com>", ["to@example.com"], headers={"Message-ID": "<1@example.com>"}
    ).send()

    row = MailboxMessage.objects.get()
    assert (row.subject, row.text, row.sender) == ("Grüße", "from Ada", "Ada <ada@example.com>")
    assert row.message_id == "<1@example.com>"


def test_stores_the_message_as_sent_over_smtp() -> None:
    message = EmailMultiAlternatives("Grüße", "Text: 世界", "ada@example.com", ["to@example.com"], bcc=["bcc@example.com"])
    message.attach_alternative("<p>世界</p>", "text/html")
    message.send()

    source = parse(MailboxMessage.objects.get())
    assert (source["Subject"], source["To"], source["Bcc"]) == ("Grüße", "to@example.com", None)
    assert [part.get_content().strip() for part in source.walk() if not part.is_multipart()] == ["Text: 世界", "<p>世界</p>"]


def test_stores_the_message_id_of_the_message() -> None:
    send_mail("Hi", "text", None, ["to@example.com"])

    row = MailboxMessage.objects.get()
    assert row.message_id == parse(row)["Message-ID"]


def test_stores_several_messages_in_order() -> None:
    messages = [EmailMessage(subject, "text", "ada@example.com", ["to@example.com"]) for subject in "abc"]

    assert send_through(MAILBOX, messages) == 3

    assert [row.subject for row in MailboxMessage.objects.order_by("id")] == ["a", "b", "c"]


def test_returns_0_for_an_empty_list() -> None:
    assert send_through(MAILBOX, []) == 0


def test_no_email_leaves_the_machine() -> None:
    assert delivers_only_locally()


@pytest.mark.parametrize(("subject", "text"), [("Hi", "Hi"), ("", "No subject")])
def test_the_text_of_a_row_is_its_subject(subject: str, text: str) -> None:
    assert str(MailboxMessage(subject=subject)) == text


# Simulated failures


def plain_email(*addresses: str) -> EmailMessage:
    """Return an email of the class that Django's own code uses."""
    return EmailMessage("Hi", "text", "ada@example.com", list(addresses))


def raw_email(*addresses: str, attempt: int = 1, html: str | None = None) -> RawEmailMessage:
    """Return an email as the delivery worker sends it, at attempt number `attempt`."""
    draft = Draft(sender="ada@example.com", to=addresses, text=None if html else "Hi", html=html)
    email = Email(sender=draft.sender, to=list(addresses), recipients=envelope_recipients(draft), attempts=attempt)
    RawMessage(email=email, content=build_message(draft, message_id="<1@example.com>", date=datetime(2026, 12, 1, tzinfo=UTC)))
    return RawEmailMessage(email, recipients=email.recipients)


def test_raises_if_all_recipients_are_rejected() -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as rejection:
        plain_email("Ada <bounce@simulator.test>", "full@simulator.test").send()

    assert rejection.value.recipients == {
        "Ada <bounce@simulator.test>": NO_MAILBOX,
        "full@simulator.test": (452, b"4.2.2 Mailbox full"),
    }
    assert not MailboxMessage.objects.exists()


@pytest.mark.parametrize("make", [plain_email, raw_email])
def test_stores_an_email_for_the_accepted_recipients(make: Callable[..., EmailMessage]) -> None:
    assert make("bounce@simulator.test", "ada@b.example").send() == 1

    assert MailboxMessage.objects.get().recipients == ["ada@b.example"]


def test_reports_rejected_recipients() -> None:
    message = raw_email("bounce+a@simulator.test", "delivered@simulator.test")

    message.send()

    assert message.rejected == message.collect_rejections() == {"bounce+a@simulator.test": NO_MAILBOX}


def test_reports_no_rejections_if_all_are_accepted() -> None:
    message = raw_email("ada@example.com")

    message.send()

    assert message.rejected == {}


def test_a_full_mailbox_accepts_the_third_attempt() -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        raw_email("full@simulator.test", attempt=2).send()

    assert raw_email("full@simulator.test", attempt=3).send() == 1


def test_drop_loses_the_connection() -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        plain_email("drop@simulator.test", "ada@example.com").send()

    assert not MailboxMessage.objects.exists()


def test_waits_as_long_as_the_slowest_recipient(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    plain_email("slow+2@simulator.test", "slow+7@simulator.test", "ada@example.com").send()

    assert slept == [7]
    assert len(MailboxMessage.objects.get().recipients) == 3


def test_stores_the_messages_before_a_failure() -> None:
    messages = [plain_email("ada@example.com"), plain_email("bounce@simulator.test"), plain_email("bob@example.com")]

    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send_through(MAILBOX, messages)

    assert [row.recipients for row in MailboxMessage.objects.all()] == [["ada@example.com"]]


def test_fail_silently_suppresses_errors() -> None:
    messages = [plain_email("bounce@simulator.test"), plain_email("ada@example.com")]

    assert send_through(MAILBOX, messages, fail_silently=True) == 1


def test_stores_the_text_generated_from_html() -> None:
    raw_email("b@example.com", html="<p>Hello</p>").send()

    assert MailboxMessage.objects.get().text == "Hello"
