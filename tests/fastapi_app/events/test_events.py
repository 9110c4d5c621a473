"""The route that lists events, and the JSON of events. tests/servers/api/test_live_events.py tests the stream and load."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from fastapi_app.events.schemas import TYPES, EventData, EventOut
from fastapi_app.main import app
from project.accounts.models import User
from project.api_keys.keys import create_key
from project.api_keys.models import ApiKey
from project.auth.principal import Principal
from project.auth.session_principal import session_principal
from project.delivery.claim import claim_emails
from project.delivery.record_results import Attempt, record_results
from project.emails.actions import cancel_email
from project.emails.submit import plain_text_email, prepare_email, submit_batch
from project.events.models import Event
from project.events.selectors import events_after
from project.events.stream import StreamedEvent
from project.suppressions.store import NewSuppression, suppress_all
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.fastapi_app.conftest import GetToken, bearer
from tests.fastapi_app.events.event_helpers import ADA, send
from tests.project.conftest import NOW, WORKER

ACCEPTED = SendResult(reply=Reply(250, "2.0.0 Ok"))
PARTLY_ACCEPTED = SendResult(reply=Reply(250, "2.0.0 Ok"), rejections={"bob@example.com": Reply(550, "5.7.1 Blocked")})
LATER = SendResult("SMTPDataError: later", FailureKind.TEMPORARY, Reply(451, "4.3.0 Later"))
BLOCKED = SendResult("SMTPDataError: blocked", FailureKind.PERMANENT, Reply(550, "5.7.1 Blocked"))
NO_USER = SendResult("SMTPRecipientsRefused: ada", FailureKind.PERMANENT, Reply(550, "5.1.1 No such user"))
EVENT: TypeAdapter[Any] = TypeAdapter(EventOut)


def attempt(result: SendResult) -> None:
    """Submit an email, and record a delivery attempt with this result."""
    send(to=(ADA, *result.rejections))
    (email,) = claim_emails(WORKER, limit=1, now=NOW)
    record_results([Attempt(email, result, NOW)])


def create_events_of_all_types(owner: Principal) -> None:
    """Create events of every type, for some types in more than one way."""
    for result in (ACCEPTED, PARTLY_ACCEPTED, LATER, BLOCKED, NO_USER):
        attempt(result)
    later = prepare_email(replace(plain_text_email(address=ADA, text="Hi"), scheduled_at=NOW + timedelta(days=1)), now=NOW)
    submit_batch([later])
    cancel_email(later.email.id, principal=owner, now=NOW)
    suppress_all([NewSuppression("eve@example.com", "unsubscribed")], now=NOW)
    send(to=("eve@example.com",))
    claim_emails(WORKER, limit=1, now=NOW)


# JSON


@pytest.fixture
def event_texts(shared_test_connection: None, owner: User) -> list[str]:
    """Return the JSON of events of every type."""
    create_events_of_all_types(session_principal(owner))
    return [StreamedEvent(event).json for event in events_after(0, limit=100)]


def test_all_events_match_the_documented_schema(event_texts: list[str]) -> None:
    events = [EVENT.validate_json(text) for text in event_texts]

    assert {event.type for event in events} == set(TYPES)
    assert all(json.loads(text)["data"].keys() <= EventData.model_fields.keys() for text in event_texts)


def test_pages_and_websockets_have_the_same_json(
    client: TestClient, owner: User, token: GetToken, event_texts: list[str]
) -> None:
    page = client.get("/api/events", params={"limit": 100}, headers=bearer(token(owner))).json()

    assert page == {"data": [json.loads(text) for text in event_texts], "next": None}


def test_the_union_is_tagged_by_type_in_openapi() -> None:
    item = app.openapi()["components"]["schemas"]["EventPage"]["properties"]["data"]["items"]

    assert item["discriminator"]["propertyName"] == "type"
    assert set(item["discriminator"]["mapping"]) == set(TYPES)


# Pagination


def test_lists_events_page_by_page(client: TestClient, owner: User, token: GetToken) -> None:
    headers, after, ids = bearer(token(owner)), None, []
    send(5)

    while True:
        page = client.get("/api/events", params={"limit": 2, "after": after or 0}, headers=headers).json()
        ids += [event["id"] for event in page["data"]]
        after = page["next"]
        if after is None:
            break

    assert ids == list(Event.objects.order_by("id").values_list("id", flat=True))
    assert len(ids) == 5


def test_filters_by_type_and_email(client: TestClient, owner: User, token: GetToken, event_texts: list[str]) -> None:
    headers, email_id = bearer(token(owner)), json.loads(event_texts[0])["data"]["email_id"]

    failed = client.get("/api/events", params={"types": "email.failed,email.bounced"}, headers=headers).json()["data"]
    of_one_email = client.get("/api/events", params={"email_id": email_id}, headers=headers).json()["data"]

    assert {event["type"] for event in failed} == {"email.failed", "email.bounced"}
    assert {event["data"]["email_id"] for event in of_one_email} == {email_id}


def test_a_key_sees_only_events_of_its_own_emails(client: TestClient) -> None:
    headers = bearer(create_key("shop", scopes=["events:read"]))
    (mine,) = send(owner_id=f"key:{ApiKey.objects.get().pk}")
    send(owner_id="key:0")

    events = client.get("/api/events", headers=headers).json()["data"]

    assert [event["data"]["email_id"] for event in events] == [str(mine)]


@pytest.mark.parametrize("path", ["/api/events", "/api/events/stream"])
def test_events_need_the_scope(client: TestClient, path: str) -> None:
    key = create_key("reader", scopes=["emails:read"])

    assert client.get(path).status_code == 401
    assert client.get(path, headers=bearer(key)).json()["code"] == "insufficient_scope"


@pytest.mark.parametrize("query", [{"types": "email.lost"}, {"types": ""}, {"after": -1}, {"after": 2**63}, {"email_id": "x"}])
def test_rejects_invalid_filters(client: TestClient, query: dict[str, Any]) -> None:
    headers = bearer(create_key("shop", scopes=["events:read"]))

    for path in ("/api/events", "/api/events/stream"):
        assert client.get(path, params=query, headers=headers).status_code == 422
