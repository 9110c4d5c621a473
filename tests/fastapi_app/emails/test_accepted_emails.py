"""Routes that list, get and change emails. The lifespan does not run, so there is no delivery worker."""

from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.utils import format_datetime

import pytest
from starlette.testclient import TestClient

from project.emails.models import Email, RawMessage
from project.emails.status import Status
from project.events.models import Event
from project.transports.models import MailboxMessage
from tests.fastapi_app.payloads import BEFORE_YEAR_1, BODY, soon

# Reading


def test_gets_an_email_and_its_events(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"tags": {"order": "42"}}, headers=headers).json()["id"]

    email = client.get(f"/api/emails/{email_id}", headers=headers).json()
    events = client.get(f"/api/emails/{email_id}/events", headers=headers).json()

    assert (email["from"], email["status"], email["attempts"], email["tags"]) == (BODY["from"], "sent", 1, {"order": "42"})
    assert [event["type"] for event in events["data"]] == ["email.queued", "email.sending", "email.sent"]
    assert {event["data"]["email_id"] for event in events["data"]} == {email_id}


def test_an_email_has_the_id_of_the_request_that_submitted_it(client: TestClient, headers: dict[str, str]) -> None:
    accepted = client.post("/api/emails", json=BODY, headers=headers | {"X-Request-ID": "checkout-4711"})

    email = client.get(f"/api/emails/{accepted.json()['id']}", headers=headers).json()
    (listed,) = client.get("/api/emails", headers=headers).json()["data"]

    assert (email["request_id"], listed["request_id"]) == ("checkout-4711", "checkout-4711")


def test_lists_pages_with_the_newest_email_first(client: TestClient, headers: dict[str, str]) -> None:
    ids = [client.post("/api/emails", json=BODY, headers=headers).json()["id"] for _ in range(5)]

    first = client.get("/api/emails?limit=3", headers=headers).json()
    second = client.get(f"/api/emails?limit=3&after={first['next']}", headers=headers).json()

    assert [email["id"] for email in first["data"] + second["data"]] == ids[::-1]
    assert second["next"] is None


def test_lists_by_status(client: TestClient, headers: dict[str, str]) -> None:
    client.post("/api/emails", json=BODY, headers=headers)
    client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers)

    response = client.get("/api/emails?status=scheduled", headers=headers).json()

    assert [email["status"] for email in response["data"]] == ["scheduled"]


@pytest.mark.parametrize("query", ["to=bob@example.com", "tag=order:7:b", "to=bob@example.com&tag=order:7:b&status=sent"])
def test_lists_by_recipient_and_by_tag(client: TestClient, headers: dict[str, str], query: str) -> None:
    client.post("/api/emails", json=BODY | {"tags": {"order": "7"}, "cc": ["bobby@example.com"]}, headers=headers)
    email = client.post("/api/emails", json=BODY | {"tags": {"order": "7:b"}, "bcc": ["bob@example.com"]}, headers=headers).json()

    response = client.get(f"/api/emails?{query}", headers=headers).json()

    assert [email["id"] for email in response["data"]] == [email["id"]]


@pytest.mark.parametrize(
    ("sent_to", "searched"),
    [
        ("delivered@simulator.test", "delivered@SIMULATOR.test"),
        ("Ada@EXAMPLE.com", "Ada@Example.com"),
        ("ada@bücher.example", "ada@bücher.example"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_finds_a_recipient_in_any_notation(client: TestClient, headers: dict[str, str], sent_to: str, searched: str) -> None:
    client.post("/api/emails", json=BODY | {"to": sent_to}, headers=headers)

    found = client.get("/api/emails", params={"to": searched}, headers=headers).json()
    others = client.get("/api/emails", params={"to": "nobody"}, headers=headers).json()

    assert (len(found["data"]), others["data"]) == (1, [])


def test_an_event_has_the_same_json_on_both_routes(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY, headers=headers).json()["id"]

    events_of_one = client.get(f"/api/emails/{email_id}/events", headers=headers).json()
    all_events = client.get("/api/events", headers=headers).json()

    assert events_of_one == {"data": all_events["data"], "next": None}


@pytest.mark.parametrize("query", ["to=%00", "tag=a:%00", "tag=order", "status=lost", "limit=0", "limit=101", "after=x"])
def test_rejects_an_invalid_query_parameter(client: TestClient, headers: dict[str, str], query: str) -> None:
    response = client.get(f"/api/emails?{query}", headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["query", query.partition("=")[0]])


def test_only_staff_see_the_emails_of_others(
    client: TestClient, headers: dict[str, str], stranger_headers: dict[str, str]
) -> None:
    mine = client.post("/api/emails", json=BODY, headers=headers).json()["id"]
    theirs = client.post("/api/emails", json=BODY, headers=stranger_headers).json()["id"]

    assert client.get(f"/api/emails/{mine}", headers=stranger_headers).json()["code"] == "email_not_found"
    assert client.post(f"/api/emails/{mine}/cancel", headers=stranger_headers).status_code == 404
    assert [email["id"] for email in client.get("/api/emails", headers=stranger_headers).json()["data"]] == [theirs]
    assert len(client.get("/api/emails", headers=headers).json()["data"]) == 2


# Changing


def test_a_scheduled_email_can_be_rescheduled_and_canceled(client: TestClient, headers: dict[str, str]) -> None:
    accepted = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()
    later = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)

    rescheduled = client.patch(f"/api/emails/{accepted['id']}", json={"scheduled_at": later.isoformat()}, headers=headers).json()
    canceled = client.post(f"/api/emails/{accepted['id']}/cancel", headers=headers).json()

    assert (accepted["status"], rescheduled["status"], canceled["status"]) == ("scheduled", "scheduled", "canceled")
    assert datetime.fromisoformat(rescheduled["scheduled_at"]) == later
    assert not MailboxMessage.objects.exists()


def test_an_email_rescheduled_to_the_past_is_sent_now(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]

    client.patch(f"/api/emails/{email_id}", json={"scheduled_at": "2026-01-01T00:00:00Z"}, headers=headers)

    assert Email.objects.get().status == Status.SENT


def test_rejects_rescheduling_to_a_time_before_year_1(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]

    response = client.patch(f"/api/emails/{email_id}", json={"scheduled_at": BEFORE_YEAR_1}, headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "scheduled_at"])


def test_rescheduling_changes_the_date_header(client: TestClient, headers: dict[str, str]) -> None:
    body = BODY | {"scheduled_at": soon(), "text": "Hi\n\nDate: mine\n", "headers": {"X-Date": "mine"}}
    email_id = client.post("/api/emails", json=body, headers=headers).json()["id"]
    before = bytes(RawMessage.objects.get().content)
    later = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)

    client.patch(f"/api/emails/{email_id}", json={"scheduled_at": later.isoformat()}, headers=headers)

    after = bytes(RawMessage.objects.get().content)
    old, new = (next(line for line in raw.split(b"\r\n") if line.startswith(b"Date: ")) for raw in (before, after))
    assert new == f"Date: {format_datetime(later)}".encode()
    assert after == before.replace(old, new)


def test_the_date_header_is_never_in_the_past(client: TestClient, headers: dict[str, str]) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]
    client.post("/api/emails", json=BODY | {"scheduled_at": "0001-01-01T00:00:00Z"}, headers=headers)

    client.patch(f"/api/emails/{email_id}", json={"scheduled_at": "2026-01-01T00:00:00Z"}, headers=headers)

    messages = [message_from_bytes(bytes(raw.content), policy=policy.default) for raw in RawMessage.objects.all()]
    assert all(now <= message["Date"].datetime <= now + timedelta(minutes=1) for message in messages)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/cancel", "email_not_cancelable"),
        ("POST", "/retry", "email_not_retryable"),
        ("PATCH", "", "email_not_reschedulable"),
    ],
)
def test_a_sent_email_cannot_be_changed(client: TestClient, headers: dict[str, str], method: str, path: str, code: str) -> None:
    email_id = client.post("/api/emails", json=BODY, headers=headers).json()["id"]

    response = client.request(method, f"/api/emails/{email_id}{path}", json={"scheduled_at": soon()}, headers=headers)

    assert (response.status_code, response.json()["code"]) == (409, code)


def test_a_failed_email_can_be_retried(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]
    Email.objects.update(status=Status.FAILED, attempts=8, next_attempt_at=None)

    response = client.post(f"/api/emails/{email_id}/retry", headers=headers)

    assert (response.status_code, response.json()["status"]) == (200, "queued")
    assert Email.objects.get().status == Status.SENT
    assert Event.objects.order_by("-id").values_list("type", flat=True)[0] == "email.sent"


@pytest.mark.parametrize("action", ["retry", "resend"])
def test_an_email_whose_body_was_deleted_is_not_sent(client: TestClient, headers: dict[str, str], action: str) -> None:
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]
    Email.objects.update(status=Status.FAILED, next_attempt_at=None)
    RawMessage.objects.all().delete()

    response = client.post(f"/api/emails/{email_id}/{action}", headers=headers)

    assert (response.status_code, response.json()["code"]) == (409, "email_body_deleted")
    assert Email.objects.get().status == Status.FAILED


def test_a_sent_email_is_retried_only_for_the_recipients_for_which_it_failed(client: TestClient, headers: dict[str, str]) -> None:
    copies = ["bob@example.com", "eve@example.com"]
    email_id = client.post("/api/emails", json=BODY | {"cc": copies, "scheduled_at": soon()}, headers=headers).json()["id"]
    statuses = {"ada@example.com": "sent", "bob@example.com": "failed", "eve@example.com": "bounced"}
    results = {address: {"status": status, "smtp_code": None, "response": None} for address, status in statuses.items()}
    Email.objects.update(status=Status.SENT, attempts=8, recipient_results=results, next_attempt_at=None)

    responses = [client.post(f"/api/emails/{email_id}/retry", headers=headers) for _ in range(2)]

    recipients = client.get(f"/api/emails/{email_id}", headers=headers).json()["recipients"]
    assert [response.status_code for response in responses] == [200, 409]
    assert {each["address"]: each["status"] for each in recipients} == statuses | {"bob@example.com": "sent"}
    assert MailboxMessage.objects.get().recipients == ["bob@example.com"]
    sent = Event.objects.order_by("id").last()
    assert sent is not None
    assert (sent.type, sent.data["recipients"], Email.objects.get().attempts) == ("email.sent", ["bob@example.com"], 1)


def test_a_delayed_email_can_be_retried_now(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post(
        "/api/emails", json=BODY | {"cc": ["bob@example.com"], "scheduled_at": soon()}, headers=headers
    ).json()["id"]
    bob_has_it = {"bob@example.com": {"status": "sent", "smtp_code": 250, "response": "OK"}}
    Email.objects.update(status=Status.DELAYED, attempts=3, reason="451 Later", recipient_results=bob_has_it)

    response = client.post(f"/api/emails/{email_id}/retry", headers=headers)

    assert (response.status_code, response.json()["status"], response.json()["next_attempt_at"]) == (200, "queued", None)
    assert (Email.objects.get().status, Email.objects.get().reason) == (Status.SENT, None)
    assert MailboxMessage.objects.get().recipients == ["ada@example.com"]


def test_a_delayed_email_can_be_canceled(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]
    Email.objects.update(status=Status.DELAYED, reason="451 Later")

    response = client.post(f"/api/emails/{email_id}/cancel", headers=headers)

    assert (response.status_code, response.json()["status"], response.json()["reason"]) == (200, "canceled", None)
    assert response.json()["next_attempt_at"] is None


def test_returns_and_lists_by_priority(client: TestClient, headers: dict[str, str], stranger_headers: dict[str, str]) -> None:
    bodies = [BODY | {"priority": priority} for priority in ("high", "low", "high", "normal")]
    ids = [client.post("/api/emails", json=body, headers=headers).json()["id"] for body in [*bodies, BODY]]
    stranger_id = client.post("/api/emails", json=bodies[0], headers=stranger_headers).json()["id"]

    mine = client.get("/api/emails?priority=high", headers=stranger_headers).json()["data"]
    found = {
        priority: [email["id"] for email in client.get(f"/api/emails?priority={priority}", headers=headers).json()["data"]]
        for priority in ("high", "normal", "low")
    }

    assert found == {"high": [stranger_id, ids[2], ids[0]], "normal": [ids[4], ids[3]], "low": [ids[1]]}
    assert [email["id"] for email in mine] == [stranger_id]
    assert client.get(f"/api/emails/{ids[1]}", headers=headers).json()["priority"] == "low"


def test_a_batch_may_have_several_priorities(client: TestClient, headers: dict[str, str]) -> None:
    emails = [BODY | {"priority": "low"}, BODY, BODY | {"priority": None}]
    client.post("/api/emails/batch", json={"emails": emails}, headers=headers)

    listed = client.get("/api/emails", headers=headers).json()["data"]

    assert [email["priority"] for email in listed] == ["normal", "normal", "low"]


@pytest.mark.parametrize("priority", ["urgent", "HIGH", "", 1, ["high"]])
def test_refuses_an_unknown_priority(client: TestClient, headers: dict[str, str], priority: object) -> None:
    response = client.post("/api/emails", json=BODY | {"priority": priority}, headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "priority"])
    assert client.get("/api/emails?priority=urgent", headers=headers).status_code == 422


def test_lists_by_reason(client: TestClient, headers: dict[str, str], stranger_headers: dict[str, str]) -> None:
    failing = [BODY | {"to": f"bounce+{name}@simulator.test"} for name in ("a", "b")]
    ids = [client.post("/api/emails", json=body, headers=headers).json()["id"] for body in [*failing, BODY]]
    client.post("/api/emails", json=failing[0], headers=stranger_headers)
    reason = client.get(f"/api/emails/{ids[0]}", headers=headers).json()["reason"]

    mine = client.get("/api/emails", params={"reason": reason, "status": "bounced"}, headers=stranger_headers).json()["data"]
    found = client.get("/api/emails", params={"reason": reason}, headers=headers).json()["data"]

    assert reason == "550 5.1.1 No such mailbox"
    assert [email["id"] for email in found][1:] == ids[1::-1]
    assert len(mine) == 1
