"""Mails that were accepted, by the e-mail routes: looked at, followed and changed, in this process and with no lifespan."""

from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.utils import format_datetime

import pytest
from starlette.testclient import TestClient

from project.emails.models import Email, RawMessage
from project.emails.status import Status
from project.events.models import Event
from project.transports.models import MailboxMessage
from tests.fastapi_app.payloads import BEFORE_ALL, BODY, soon

# Looking


def test_tells_one_mail_and_what_happened_to_it(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"tags": {"order": "42"}}, headers=headers).json()["id"]

    email = client.get(f"/api/emails/{email_id}", headers=headers).json()
    events = client.get(f"/api/emails/{email_id}/events", headers=headers).json()

    assert (email["from"], email["status"], email["attempts"], email["tags"]) == (BODY["from"], "sent", 1, {"order": "42"})
    assert [event["type"] for event in events["data"]] == ["email.queued", "email.sending", "email.sent"]
    assert {event["data"]["email_id"] for event in events["data"]} == {email_id}


def test_lists_the_newest_first_page_by_page(client: TestClient, headers: dict[str, str]) -> None:
    ids = [client.post("/api/emails", json=BODY, headers=headers).json()["id"] for _ in range(5)]

    first = client.get("/api/emails?limit=3", headers=headers).json()
    second = client.get(f"/api/emails?limit=3&after={first['next']}", headers=headers).json()

    assert [email["id"] for email in first["data"] + second["data"]] == ids[::-1]
    assert second["next"] is None


def test_lists_by_status(client: TestClient, headers: dict[str, str]) -> None:
    client.post("/api/emails", json=BODY, headers=headers)
    client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers)

    answer = client.get("/api/emails?status=scheduled", headers=headers).json()

    assert [email["status"] for email in answer["data"]] == ["scheduled"]


@pytest.mark.parametrize("query", ["to=bob@example.com", "tag=order:7:b", "to=bob@example.com&tag=order:7:b&status=sent"])
def test_lists_by_recipient_and_by_tag(client: TestClient, headers: dict[str, str], query: str) -> None:
    client.post("/api/emails", json=BODY | {"tags": {"order": "7"}, "cc": ["bobby@example.com"]}, headers=headers)
    wanted = client.post(
        "/api/emails", json=BODY | {"tags": {"order": "7:b"}, "bcc": ["bob@example.com"]}, headers=headers
    ).json()

    answer = client.get(f"/api/emails?{query}", headers=headers).json()

    assert [email["id"] for email in answer["data"]] == [wanted["id"]]


@pytest.mark.parametrize(
    ("sent_to", "asked"),
    [
        ("delivered@simulator.test", "delivered@SIMULATOR.test"),
        ("Ada@EXAMPLE.com", "Ada@Example.com"),
        ("ada@bücher.example", "ada@bücher.example"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_finds_a_recipient_as_it_was_written(client: TestClient, headers: dict[str, str], sent_to: str, asked: str) -> None:
    client.post("/api/emails", json=BODY | {"to": sent_to}, headers=headers)

    found = client.get("/api/emails", params={"to": asked}, headers=headers).json()
    others = client.get("/api/emails", params={"to": "nobody"}, headers=headers).json()

    assert (len(found["data"]), others["data"]) == (1, [])


def test_an_event_is_told_alike_everywhere(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY, headers=headers).json()["id"]

    of_one = client.get(f"/api/emails/{email_id}/events", headers=headers).json()
    of_all = client.get("/api/events", headers=headers).json()

    assert of_one == {"data": of_all["data"], "next": None}


@pytest.mark.parametrize("query", ["to=%00", "tag=a:%00", "tag=order", "status=lost", "limit=0", "limit=101", "after=x"])
def test_refuses_to_list_by_nonsense(client: TestClient, headers: dict[str, str], query: str) -> None:
    answer = client.get(f"/api/emails?{query}", headers=headers)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", query.partition("=")[0]])


def test_nobody_sees_anothers_mail_but_staff(
    client: TestClient, headers: dict[str, str], stranger_headers: dict[str, str]
) -> None:
    mine = client.post("/api/emails", json=BODY, headers=headers).json()["id"]
    theirs = client.post("/api/emails", json=BODY, headers=stranger_headers).json()["id"]

    assert client.get(f"/api/emails/{mine}", headers=stranger_headers).json()["code"] == "email_not_found"
    assert client.post(f"/api/emails/{mine}/cancel", headers=stranger_headers).status_code == 404
    assert [email["id"] for email in client.get("/api/emails", headers=stranger_headers).json()["data"]] == [theirs]
    assert len(client.get("/api/emails", headers=headers).json()["data"]) == 2


# Changing


def test_a_scheduled_mail_waits_and_can_be_moved_and_canceled(client: TestClient, headers: dict[str, str]) -> None:
    accepted = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()
    later = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)

    moved = client.patch(f"/api/emails/{accepted['id']}", json={"scheduled_at": later.isoformat()}, headers=headers).json()
    canceled = client.post(f"/api/emails/{accepted['id']}/cancel", headers=headers).json()

    assert (accepted["status"], moved["status"], canceled["status"]) == ("scheduled", "scheduled", "canceled")
    assert datetime.fromisoformat(moved["scheduled_at"]) == later
    assert not MailboxMessage.objects.exists()


def test_a_mail_that_was_moved_to_the_past_goes_at_once(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]

    client.patch(f"/api/emails/{email_id}", json={"scheduled_at": "2026-01-01T00:00:00Z"}, headers=headers)

    assert Email.objects.get().status == Status.SENT


def test_a_mail_is_moved_to_no_time_that_is_none_in_utc(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]

    answer = client.patch(f"/api/emails/{email_id}", json={"scheduled_at": BEFORE_ALL}, headers=headers)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "scheduled_at"])


def test_a_mail_that_is_moved_has_the_date_of_its_new_time(client: TestClient, headers: dict[str, str]) -> None:
    mail = BODY | {"scheduled_at": soon(), "text": "Hi\n\nDate: mine\n", "headers": {"X-Date": "mine"}}
    email_id = client.post("/api/emails", json=mail, headers=headers).json()["id"]
    before = bytes(RawMessage.objects.get().content)
    later = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)

    client.patch(f"/api/emails/{email_id}", json={"scheduled_at": later.isoformat()}, headers=headers)

    after = bytes(RawMessage.objects.get().content)
    old, new = (next(line for line in source.split(b"\r\n") if line.startswith(b"Date: ")) for source in (before, after))
    assert new == f"Date: {format_datetime(later)}".encode()
    assert after == before.replace(old, new)


def test_a_mail_is_not_dated_in_the_past(client: TestClient, headers: dict[str, str]) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]
    client.post("/api/emails", json=BODY | {"scheduled_at": "0001-01-01T00:00:00Z"}, headers=headers)

    client.patch(f"/api/emails/{email_id}", json={"scheduled_at": "2026-01-01T00:00:00Z"}, headers=headers)

    sources = [message_from_bytes(bytes(source.content), policy=policy.default) for source in RawMessage.objects.all()]
    assert all(now <= source["Date"].datetime <= now + timedelta(minutes=1) for source in sources)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/cancel", "email_not_cancelable"),
        ("POST", "/retry", "email_not_retryable"),
        ("PATCH", "", "email_not_reschedulable"),
    ],
)
def test_a_sent_mail_can_no_longer_be_changed(
    client: TestClient, headers: dict[str, str], method: str, path: str, code: str
) -> None:
    email_id = client.post("/api/emails", json=BODY, headers=headers).json()["id"]

    answer = client.request(method, f"/api/emails/{email_id}{path}", json={"scheduled_at": soon()}, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (409, code)


def test_a_failed_mail_can_be_sent_again(client: TestClient, headers: dict[str, str]) -> None:
    email_id = client.post("/api/emails", json=BODY | {"scheduled_at": soon()}, headers=headers).json()["id"]
    Email.objects.update(status=Status.FAILED, attempts=8, next_attempt_at=None)

    answer = client.post(f"/api/emails/{email_id}/retry", headers=headers)

    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert Email.objects.get().status == Status.SENT
    assert Event.objects.order_by("-id").values_list("type", flat=True)[0] == "email.sent"
