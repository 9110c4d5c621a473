"""Marking emails as sent that a restored backup still has in its queue."""

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from project.delivery import mark_sent as module
from project.delivery.claim import claim_emails
from project.delivery.mark_sent import Marked, mark_sent, sent_email_ids
from project.emails.models import Email
from project.emails.status import Status
from project.events.models import Event
from tests.project.conftest import NOW, SubmitEmail

ID = "01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e"


def logged(**fields: str) -> str:
    """Return a line of a log with LOG_FORMAT=json."""
    return json.dumps({"level": "info", "event": "Email sent successfully", "email_id": ID, "status": "sent"} | fields)


@pytest.mark.parametrize(
    "line",
    [logged(), f"web-1  | {logged()}\n", ID, f"  {ID.upper()}\n", f"<{ID}@shop.example.com>\n", f"{ID}@shop.example.com"],
)
def test_finds_the_id_in_a_line(line: str) -> None:
    assert [str(email_id) for email_id in sent_email_ids([line])] == [ID]


@pytest.mark.parametrize(
    "line",
    ["", "\n", logged(status="failed"), logged(email_id="42"), f"Email {ID} failed", '{"status": "sent"', "{" * 10_000, ID[:-1]],
)
def test_ignores_a_line_about_no_sent_email(line: str) -> None:
    assert list(sent_email_ids([line])) == []


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.QUEUED, Status.SENDING, Status.DELAYED])
def test_marks_an_unfinished_email(submit_email: SubmitEmail, status: Status) -> None:
    email = submit_email()
    lease = {"claimed_by": "gone", "lease_expires_at": NOW} if status == Status.SENDING else {"next_attempt_at": NOW}
    Email.objects.update(status=status, last_error="451 later", **lease)

    assert mark_sent([email.id], now=NOW) == Marked(sent=1)

    email.refresh_from_db()
    assert (email.status, email.sent_at, email.last_error, email.claimed_by) == ("sent", NOW, "", "")
    assert claim_emails("worker", limit=1, now=NOW + timedelta(days=1)) == []


def test_writes_an_event_that_says_why(submit_email: SubmitEmail) -> None:
    mark_sent([submit_email().id], now=NOW)

    event = Event.objects.get(type="email.sent")
    assert (event.data["status"], event.data["response"]) == ("sent", "Marked as sent by manage.py mark_sent")


@pytest.mark.parametrize("status", [Status.SENT, Status.FAILED, Status.BOUNCED, Status.CANCELED, Status.SUPPRESSED])
def test_does_not_change_a_final_status(submit_email: SubmitEmail, status: Status) -> None:
    email = submit_email()
    Email.objects.update(status=status)

    assert mark_sent([email.id], now=NOW) == Marked(final=1)
    assert Email.objects.get().status == status


def test_does_not_change_other_emails(submit_email: SubmitEmail) -> None:
    marked, other = submit_email(), submit_email()

    mark_sent([marked.id], now=NOW)

    assert [email.id for email in claim_emails("worker", limit=2, now=NOW)] == [other.id]


def test_marks_more_emails_than_one_transaction_does(submit_email: SubmitEmail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    ids = [submit_email().id for _ in range(5)]

    assert mark_sent([*ids, uuid4()], now=NOW) == Marked(sent=5, unknown=1)


def test_the_command_reads_a_log(submit_email: SubmitEmail, tmp_path: Path) -> None:
    email, output = submit_email(), StringIO()
    (tmp_path / "log").write_bytes(b"\xff\n" + f"{logged(email_id=str(email.id))}\nx{'-' * 100_000}\n{ID}\n".encode())

    call_command("mark_sent", str(tmp_path / "log"), stdout=output)

    assert output.getvalue().startswith("1 emails marked as sent. 0 emails had a final status already, and 1 are not")


def test_the_command_reads_the_standard_input(submit_email: SubmitEmail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(f"{submit_email().message_id}\n"))

    call_command("mark_sent", "-", stdout=StringIO())

    assert Email.objects.get().status == Status.SENT


def test_the_command_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"missing\.log cannot be read: No such file"):
        call_command("mark_sent", str(tmp_path / "missing.log"))
