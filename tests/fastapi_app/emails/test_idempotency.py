"""Which requests with the same idempotency key are the same request."""

import json
from hashlib import sha256
from typing import Any

import pytest
from django.utils import timezone
from starlette.testclient import TestClient

from fastapi_app.emails.idempotency import read_idempotency
from fastapi_app.emails.schemas import EmailBatch, EmailIn
from project.emails.models import Email, IdempotencyKey
from tests.fastapi_app.payloads import BODY

KEY = {"Idempotency-Key": "order-42"}
FILE = {"filename": "a.pdf", "content": "JVBERi0xLjcK"}
EMAIL: dict[str, Any] = {
    **BODY,
    "template": "welcome",
    "tags": {"a": "1", "b": "2"},
    "variables": {"name": "Zoë", "total": 10, "items": [{"x": 1, "y": None}], "none": None},
    "attachments": [FILE | {"content_type": "application/pdf"}],
}
OPTIONAL = ("cc", "bcc", "reply_to", "html", "scheduled_at")


def reordered(value: Any) -> Any:
    """Return JSON data with the names of all objects in reverse order."""
    if isinstance(value, dict):
        return {name: reordered(each) for name, each in reversed(value.items())}
    return [reordered(each) for each in value] if isinstance(value, list) else value


def changed(**fields: Any) -> dict[str, Any]:
    """Return the email with these fields, and with these variables added to its variables."""
    variables = EMAIL["variables"] | fields.pop("variables", {})
    return EMAIL | {"variables": variables} | fields


SAME = {
    "another order of names": json.dumps(reordered(EMAIL)),
    "white space": json.dumps(EMAIL, indent=2),
    "unescaped characters": json.dumps(EMAIL, ensure_ascii=False),
    "null for optional fields": json.dumps(EMAIL | dict.fromkeys(OPTIONAL)),
    "null in an attachment": json.dumps(EMAIL | {"attachments": [EMAIL["attachments"][0] | {"content_id": None}]}),
    "a number with a fraction of zero": json.dumps(EMAIL).replace("10", "10.0"),
    "empty lists and objects": json.dumps(EMAIL | {"cc": [], "headers": {}}),
    "a list of one address": json.dumps(EMAIL | {"to": [BODY["to"]]}),
    "a number with an exponent": json.dumps(EMAIL).replace("10", "1e1"),
}
OTHER = {
    "another subject": changed(subject="Other"),
    "another tag": changed(tags={"a": "2", "b": "1"}),
    "another attachment": changed(attachments=[FILE]),
    "another variable": changed(variables={"name": "Bob"}),
    "a text instead of a number": changed(variables={"total": "10"}),
    "true instead of one": changed(variables={"items": [{"x": True, "y": None}]}),
    "a variable that is not null": changed(variables={"none": ""}),
    "no variable instead of null": EMAIL | {"variables": {k: v for k, v in EMAIL["variables"].items() if v is not None}},
    "another order of a list": changed(to=["bob@example.com", "ada@example.com"]),
}


async def fingerprint(body: str, *, is_batch: bool = False) -> str:
    """Return the fingerprint of a request."""
    parse = EmailBatch.model_validate if is_batch else EmailIn.model_validate
    idempotency = await read_idempotency("order-42", parse(json.loads(body)))
    assert idempotency is not None
    return idempotency.fingerprint


@pytest.mark.anyio
@pytest.mark.parametrize("body", SAME.values(), ids=SAME)
async def test_the_same_email_in_another_form_is_the_same_request(body: str) -> None:
    assert await fingerprint(body) == await fingerprint(json.dumps(EMAIL))


@pytest.mark.anyio
@pytest.mark.parametrize("body", SAME.values(), ids=SAME)
async def test_the_same_batch_in_another_form_is_the_same_request(body: str) -> None:
    batch, same = ('{"emails": [%s, %s]}' % (each, json.dumps(EMAIL)) for each in (json.dumps(EMAIL), body))  # noqa: UP031

    assert await fingerprint(same, is_batch=True) == await fingerprint(batch, is_batch=True)


@pytest.mark.anyio
@pytest.mark.parametrize("email", OTHER.values(), ids=OTHER)
async def test_another_email_is_another_request(email: dict[str, Any]) -> None:
    assert await fingerprint(json.dumps(email)) != await fingerprint(json.dumps(EMAIL))


@pytest.mark.anyio
async def test_the_order_of_emails_in_a_batch_matters() -> None:
    one, two = EMAIL, changed(subject="Other")
    first, second = (json.dumps({"emails": emails}) for emails in ([one, two], [two, one]))

    assert await fingerprint(first, is_batch=True) != await fingerprint(second, is_batch=True)


@pytest.mark.anyio
async def test_an_email_and_a_batch_of_this_email_are_different_requests() -> None:
    assert await fingerprint(json.dumps(EMAIL)) != await fingerprint(json.dumps({"emails": [EMAIL]}), is_batch=True)


@pytest.mark.anyio
async def test_a_version_with_more_fields_recognizes_the_request() -> None:
    class LaterEmailIn(EmailIn):
        importance: str = "normal"
        subject: str = "another default"

    later = await read_idempotency("order-42", LaterEmailIn.model_validate(EMAIL))

    assert later is not None
    assert later.fingerprint == await fingerprint(json.dumps(EMAIL))


@pytest.mark.parametrize("route", ["/api/emails", "/api/emails/batch"])
def test_a_retry_with_another_order_of_names_returns_the_first_result(
    client: TestClient, headers: dict[str, str], route: str
) -> None:
    bodies = [BODY | {"tags": {"a": "1", "b": "2"}}, {"tags": {"b": "2", "a": "1"}, **reordered(BODY), "cc": None}]
    if route.endswith("batch"):
        bodies = [{"emails": [body]} for body in bodies]

    first, again = (client.post(route, json=body, headers=headers | KEY) for body in bodies)

    assert (first.status_code, again.status_code) == (202, 202)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    assert Email.objects.count() == 1


@pytest.mark.parametrize(("body", "status"), [(BODY, 202), (BODY | {"subject": "Other"}, 422)])
def test_recognizes_a_request_that_the_previous_version_has_stored(
    client: TestClient, headers: dict[str, str], body: dict[str, Any], status: int
) -> None:
    client.post("/api/emails", json=BODY, headers=headers | KEY)
    stored = sha256(EmailIn.model_validate(BODY).model_dump_json(exclude={"priority"}).encode()).hexdigest()
    assert IdempotencyKey.objects.filter(created_at__lte=timezone.now()).update(fingerprint=stored) == 1

    response = client.post("/api/emails", json=body, headers=headers | KEY)

    assert (response.status_code, response.headers.get("Idempotent-Replayed") == "true") == (status, status == 202)
