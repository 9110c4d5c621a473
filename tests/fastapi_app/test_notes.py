"""Each section of the notes, in this process. tests/servers/test_notes.py holds the same against real servers."""

import logging

import pytest
from starlette.testclient import TestClient

from project.outbox.models import Email, MailboxMessage
from project.outbox.states import Status


def test_background_tasks_delivers_what_it_queued(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = client.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert answer.json() == {"message": "Email will be sent in the background"}
    assert Email.objects.get().status == Status.SENT
    assert MailboxMessage.objects.get().recipients == ["ada@example.com"]
    assert [r.message for r in caplog.records if r.name == "project.outbox.deliver"] == [
        "Sending email to ada@example.com: Hi",
        "Email sent successfully",
    ]
