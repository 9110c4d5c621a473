"""Erasure of one person who received emails."""

import json
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.management import CommandError, call_command
from django.core.serializers import serialize
from django.utils import timezone

from project.accounts.models import User
from project.audit.models import AuditEvent
from project.delivery.claim import claim_emails
from project.delivery.record_results import Attempt, record_results
from project.emails.models import BulkAction, Email, RawMessage, Recipient, SubjectWord, Tag
from project.emails.status import Status
from project.emails.submit import prepare_email, submit_batch
from project.events.models import Event
from project.retention import erasure
from project.retention.erasure import Erasure, erase, find
from project.suppressions.models import Suppression
from project.transports.models import MailboxMessage, MailboxTerm
from project.transports.result import SendResult
from project.transports.smtp.replies import Reply
from tests.project.conftest import WORKER
from tests.project.transports.fake_relay import new_email

pytestmark = pytest.mark.django_db

ADA, BOB = "Ada@example.com", "bob@example.com"


def stored(*to: str, subject: str = "Hello") -> Email:
    """Return a stored email that is queued."""
    (result,) = submit_batch([prepare_email(new_email(*to, text=subject), now=timezone.now())])
    return Email.objects.get(pk=result.id)


def sent(*to: str, subject: str = "Hello", rejected: str = "") -> Email:
    """Return a stored email that was sent, except to a rejected recipient."""
    email = stored(*to, subject=subject)
    (claimed,) = claim_emails(WORKER, limit=1, now=timezone.now())
    rejections = {rejected: Reply(550, f"5.1.1 <{rejected.lower()}> unknown")} if rejected else {}
    result = SendResult(reply=Reply(250, "OK"), rejections=rejections, smtp_transcript=f"> RCPT TO:<{to[0]}>")
    record_results([Attempt(claimed, result, timezone.now())])
    email.refresh_from_db()
    return email


def everything() -> str:
    """Return all rows about emails as text."""
    models: list[Any] = [Email, Recipient, Tag, SubjectWord, Event, MailboxMessage, MailboxTerm]
    rows = [json.loads(serialize("json", model._default_manager.all())) for model in models[:1] + models[4:6]]
    keys = [str(list(model._default_manager.values_list("pk"))) for model in models]
    messages = [bytes(content).decode() for content in RawMessage.objects.values_list("content", flat=True)]
    return f"{rows}{keys}{messages}".lower()


def test_deletes_emails_to_the_address_alone() -> None:
    sent(ADA)
    other = sent(BOB)

    assert (find(ADA.lower()).deleted, erase(ADA.lower()).deleted) == (1, 1)

    assert Email.objects.get() == other
    assert ADA.lower() not in everything()


def test_deletes_an_email_that_waits_to_be_sent() -> None:
    stored(ADA)

    assert erase(ADA.lower()) == Erasure(deleted=1)
    assert claim_emails(WORKER, limit=1, now=timezone.now()) == []


def test_replaces_the_address_in_emails_to_others_too() -> None:
    email = sent(BOB, f"Ada Lovelace <{ADA}>", subject=f"For {ADA} and Bob", rejected=ADA)

    assert erase(ADA.lower()) == Erasure(anonymized=1)

    email.refresh_from_db()
    assert (email.recipients, email.to) == ([BOB, "recipient-2@erased.invalid"],) * 2
    assert email.recipient_results["recipient-2@erased.invalid"]["status"] == Status.BOUNCED
    assert "recipient-2" in email.subject
    assert ADA.lower() not in everything()
    assert "lovelace" not in everything()
    assert erase(ADA.lower()) == Erasure()


def test_keeps_addresses_that_only_contain_the_address() -> None:
    longer = f"x.{ADA}".lower()
    email = sent(ADA, longer, f"{ADA}.example".lower(), rejected=longer)

    erase(ADA.lower())

    email.refresh_from_db()
    assert email.recipients == ["recipient-1@erased.invalid", longer, f"{ADA}.example".lower()]
    assert longer in email.recipient_results


@pytest.mark.parametrize(("to", "status"), [([ADA], Status.SENDING), ([ADA, BOB], Status.QUEUED), ([ADA, BOB], Status.DELAYED)])
def test_reports_emails_that_are_not_finished(to: list[str], status: Status) -> None:
    email = stored(*to)
    Email.objects.update(status=status)

    assert (find(ADA.lower()), erase(ADA.lower())) == (Erasure(unfinished=1),) * 2
    assert Email.objects.get().raw_message.pk == email.pk


def test_works_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "BATCH_SIZE", 2)
    for _ in range(5):
        stored(ADA)
    totals: list[int] = []

    erase(ADA.lower(), on_batch=lambda done: totals.append(done.deleted))

    assert totals == [2, 4, 5]


@pytest.mark.parametrize("with_suppression", [False, True])
def test_deletes_mailbox_messages_and_keeps_the_suppression_unless_asked(with_suppression: bool) -> None:
    Suppression.objects.create(address=ADA.lower())
    message = MailboxMessage.objects.create(recipients=[ADA], source=ADA.encode(), subject="Hello")
    MailboxTerm.objects.create(term=f"@{ADA.lower()}", message=message)

    done = erase(ADA.lower(), with_suppression=with_suppression)

    assert (done.mailbox_messages, MailboxMessage.objects.count()) == (1, 0)
    assert Suppression.objects.exists() is not with_suppression


def test_replaces_the_address_in_the_log_of_the_admin_and_in_filters(owner: User) -> None:
    sent(BOB, subject=f"For {ADA}")
    LogEntry.objects.log_actions(owner.pk, Email.objects.all(), CHANGE, "Retried.")
    for filters in (f"q={ADA}", "q=Ada%40example.com&status=sent", "q=other"):
        BulkAction.objects.create(action="retry", user=owner, filters=filters, newest=uuid4(), matched=0, state="finished")

    erase(ADA.lower())

    assert LogEntry.objects.get().object_repr == "For recipient@erased.invalid (sent)"
    assert list(BulkAction.objects.values_list("filters", flat=True)) == ["q=other", *["q=recipient%40erased.invalid"] * 2]


def test_the_audit_trail_names_the_action_but_not_the_person() -> None:
    stored(ADA)

    erase(ADA.lower())

    event = AuditEvent.objects.get(action="person erased")
    assert (event.actor, event.object) == ("command line", "1 emails")


def test_the_command_asks_for_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    stored(ADA)
    monkeypatch.setattr("builtins.input", lambda _prompt: "")
    output = StringIO()

    with pytest.raises(CommandError, match="Nothing was erased"):
        call_command("erase", ADA, stdout=output)

    assert "Found: 1 email to the person alone, 0 emails to others too" in output.getvalue()
    assert Email.objects.count() == 1


def test_the_command_erases() -> None:
    stored(ADA)
    output = StringIO()

    call_command("erase", ADA, "--yes", stdout=output)

    assert "Erased: 1 email to the person alone" in output.getvalue()
    assert not Email.objects.exists()


def test_the_command_fails_while_emails_are_not_finished() -> None:
    stored(ADA, BOB)

    with pytest.raises(CommandError, match="1 emails are not finished yet"):
        call_command("erase", ADA, "--yes", stdout=StringIO())


def test_the_command_rejects_what_is_no_address() -> None:
    with pytest.raises(CommandError, match="'ada' is not an email address"):
        call_command("erase", "ada", "--yes", stdout=StringIO())
