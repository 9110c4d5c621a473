"""Sending an email again: a new email with the same content."""

from email import message_from_bytes, policy
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from project.api_keys.keys import create_key
from project.api_keys.models import ApiKey
from project.emails.models import Email, RawMessage
from project.emails.status import FINAL, Status
from project.suppressions.models import Suppression
from project.transports.models import MailboxMessage
from tests.fastapi_app.conftest import bearer
from tests.fastapi_app.payloads import BODY, soon

FIELDS = {
    "cc": ["Bob <bob@example.com>"],
    "bcc": ["eve@example.com"],
    "reply_to": ["help@example.com"],
    "tags": {"order": "42"},
    "html": "<p>Hi</p>",
    "headers": {"X-Thing": "1"},
    "attachments": [{"filename": "a.txt", "content": "SGk="}],
}


@pytest.fixture
def email_id(client: TestClient, headers: dict[str, str]) -> str:
    """Send an email with all fields, and return its id."""
    return str(client.post("/api/emails", json=BODY | FIELDS, headers=headers).json()["id"])


def headers_and_parts(email_id: str) -> tuple[dict[str, str], list[Any]]:
    """Return the headers and the contents of the stored message."""
    message = message_from_bytes(bytes(RawMessage.objects.get(pk=UUID(email_id)).content), policy=policy.default)
    return dict(message.items()), [part.get_content() for part in message.walk() if not part.is_multipart()]


@pytest.mark.parametrize("status", FINAL)
def test_an_email_with_a_final_status_can_be_sent_again(
    client: TestClient, headers: dict[str, str], email_id: str, status: Status
) -> None:
    Email.objects.update(status=status, recipient_results={"ada@example.com": {"status": "bounced"}})

    response = client.post(f"/api/emails/{email_id}/resend", headers=headers)

    assert (response.status_code, response.json()["status"]) == (202, "queued")
    copy = client.get(f"/api/emails/{response.json()['id']}", headers=headers).json()
    assert (copy["resent_from"], copy["status"], copy["attempts"]) == (email_id, "sent", 1)
    assert Email.objects.get(pk=email_id).status == status
    assert MailboxMessage.objects.count() == 2


def test_the_copy_has_the_same_content_with_its_own_message_id_and_date(
    client: TestClient, headers: dict[str, str], email_id: str
) -> None:
    raw = RawMessage.objects.get()
    raw.content = bytes(raw.content).replace(b"\r\nDate: ", b"\r\nDate: Tue, 01 Dec 2020 00:00:00 +0000\r\nX-Old: ")
    raw.save()

    copy_id = client.post(f"/api/emails/{email_id}/resend", headers=headers).json()["id"]

    first, copy = (client.get(f"/api/emails/{each}", headers=headers).json() for each in (email_id, copy_id))
    (first_headers, first_parts), (copy_headers, copy_parts) = headers_and_parts(email_id), headers_and_parts(copy_id)
    assert {name for name in first if first[name] != copy[name]} == {
        "id", "created_at", "message_id", "request_id", "resent_from", "sent_at", "recipients"
    }  # fmt: skip
    assert copy_parts == first_parts
    assert {name for name in first_headers if first_headers[name] != copy_headers[name]} == {"Message-ID", "Date"}
    assert copy_headers["Message-ID"] == copy["message_id"]
    assert "2020" not in copy_headers["Date"]


@pytest.mark.parametrize("status", sorted(set(Status) - set(FINAL)))
def test_an_email_that_may_still_be_sent_is_not_sent_again(
    client: TestClient, headers: dict[str, str], email_id: str, status: Status
) -> None:
    Email.objects.update(status=status)

    response = client.post(f"/api/emails/{email_id}/resend", headers=headers)

    assert (response.status_code, response.json()["code"]) == (409, "email_not_resendable")
    assert Email.objects.count() == 1


def test_suppressed_recipients_are_judged_anew(client: TestClient, headers: dict[str, str]) -> None:
    Suppression.objects.create(address="ada@example.com", created_at=soon())
    email_id = client.post("/api/emails", json=BODY, headers=headers).json()["id"]
    suppressed = Email.objects.get()
    Suppression.objects.all().delete()

    copy_id = client.post(f"/api/emails/{email_id}/resend", headers=headers).json()["id"]

    assert (suppressed.status, suppressed.reason) == ("suppressed", "On the suppression list")
    assert Email.objects.get(pk=copy_id).status == "sent"


def test_a_repeated_request_sends_one_copy(client: TestClient, headers: dict[str, str], email_id: str) -> None:
    keyed = headers | {"Idempotency-Key": "again-42"}

    first, second = (client.post(f"/api/emails/{email_id}/resend", headers=keyed) for _ in range(2))
    other = client.post(f"/api/emails/{first.json()['id']}/resend", headers=keyed)

    assert (second.status_code, second.json(), second.headers["Idempotent-Replayed"]) == (202, first.json(), "true")
    assert Email.objects.count() == 2
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_the_rules_of_the_key_apply(client: TestClient) -> None:
    key = bearer(create_key("shop", scopes=["emails:send"]))
    row = ApiKey.objects.get()
    row.daily_quota = 2
    row.save()
    email_id = client.post("/api/emails", json=BODY, headers=key).json()["id"]

    row.allowed_senders = ["other@example.com"]
    row.save(update_fields=["allowed_senders"])
    not_allowed = client.post(f"/api/emails/{email_id}/resend", headers=key)
    row.allowed_senders = []
    row.save(update_fields=["allowed_senders"])
    codes = [client.post(f"/api/emails/{email_id}/resend", headers=key).status_code for _ in range(2)]

    assert (not_allowed.status_code, not_allowed.json()["code"]) == (403, "sender_not_allowed")
    assert codes == [202, 429]


def test_staff_send_emails_of_others_again_as_their_own(
    client: TestClient, headers: dict[str, str], stranger_headers: dict[str, str], email_id: str
) -> None:
    theirs = client.post("/api/emails", json=BODY, headers=stranger_headers).json()["id"]

    copy_id = client.post(f"/api/emails/{theirs}/resend", headers=headers).json()["id"]

    assert Email.objects.get(pk=copy_id).owner == Email.objects.get(pk=email_id).owner
    assert client.post(f"/api/emails/{email_id}/resend", headers=stranger_headers).json()["code"] == "email_not_found"
