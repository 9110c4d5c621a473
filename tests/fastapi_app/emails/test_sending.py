"""Sending by the e-mail routes, in this process: each accepted mail is delivered before the next call, since no lifespan runs."""

import json
from base64 import b64encode, encodebytes
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from starlette.testclient import TestClient

from project.accounts.models import User
from project.api_keys.keys import create_key
from project.emails.models import Email, RawMessage
from project.emails.status import Status
from project.events.models import Event
from project.transports.models import MailboxMessage
from tests.fastapi_app.conftest import GetToken, bearer
from tests.fastapi_app.payloads import BEFORE_ALL, BODY, soon

# Sending


def test_accepts_a_mail_and_sends_it(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/emails", json=BODY, headers=headers)

    email = Email.objects.get()
    assert answer.status_code == 202
    assert answer.json() == {"id": str(email.id), "status": "queued", "created_at": answer.json()["created_at"]}
    assert email.status == Status.SENT
    assert MailboxMessage.objects.get().recipients == ["ada@example.com"]


def test_what_is_accepted_is_what_is_sent(client: TestClient, headers: dict[str, str]) -> None:
    file = {"filename": "räksmörgås.txt", "content": b64encode(b"smorgas").decode(), "content_type": "text/plain"}
    extra = {"cc": ["Bob <bob@example.com>"], "bcc": ["eve@example.com"], "headers": {"X-Order": "42"}, "attachments": [file]}

    client.post("/api/emails", json=BODY | extra | {"html": "<p>It is <b>on its way</b>.</p>"}, headers=headers)

    arrived = MailboxMessage.objects.get()
    message = message_from_bytes(bytes(arrived.source), policy=policy.default)
    assert bytes(arrived.source) == bytes(RawMessage.objects.get().content)
    assert arrived.recipients == ["ada@example.com", "bob@example.com", "eve@example.com"]
    assert (message["From"], message["To"], message["Cc"], message["Bcc"]) == (
        "Shop <shop@example.com>",
        "ada@example.com",
        "Bob <bob@example.com>",
        None,
    )
    assert (message["X-Order"], message["Message-ID"]) == ("42", Email.objects.get().message_id)
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_payload(decode=True)) == ("räksmörgås.txt", b"smorgas")


FILE = {"filename": "a", "content": ""}
MANY = [f"a{number}@example.com" for number in range(60)]
JSON = {"Content-Type": "application/json"}  # of what the client cannot write itself


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"text": None}, []),
        ({"to": []}, ["to"]),
        ({"to": "nobody"}, ["to", 0]),
        ({"to": MANY[:51]}, ["to"]),
        ({"to": ["nobody"] * 10_000}, ["to"]),
        ({"cc": MANY[:51]}, ["cc"]),
        ({"bcc": MANY[:51]}, ["bcc"]),
        ({"to": MANY[:20], "cc": MANY[20:40], "bcc": MANY[40:51]}, []),
        ({"subject": "a\r\nBcc: eve@example.com"}, ["subject"]),
        ({"from": "a\nb <a@example.com>"}, ["from"]),
        ({"from": '"' * 200 + "a <a@example.com>"}, ["from"]),  # too long once its quotes are quoted
        ({"headers": {"Bcc": "eve@example.com"}}, ["headers", "Bcc", "[key]"]),
        ({"headers": {"X-A": "a\nb"}}, ["headers", "X-A"]),
        ({"tags": {"a": "\x00"}}, ["tags", "a"]),
        ({"text": "\x00"}, ["text"]),
        ({"attachments": [{"filename": "a", "content": "not base64!"}]}, ["attachments", 0, "content"]),
        ({"attachments": [FILE] * 1001}, ["attachments"]),
        ({"attachments": [FILE | {"content_id": "é"}]}, ["attachments", 0, "content_id"]),
        ({"attachments": [FILE | {"content_id": "a" * 251}]}, ["attachments", 0, "content_id"]),
        ({"attachments": [FILE | {"content_type": "é/é"}]}, ["attachments", 0, "content_type"]),
        ({"scheduled_at": "2026-01-01T00:00:00"}, ["scheduled_at"]),
        ({"scheduled_at": 0}, ["scheduled_at"]),
        ({"scheduled_at": "0"}, ["scheduled_at"]),
        ({"scheduled_at": (datetime.now(UTC) + timedelta(days=31)).isoformat()}, ["scheduled_at"]),
        ({"scheduled_at": BEFORE_ALL}, ["scheduled_at"]),
        ({"tags": {"a:b": "c"}}, ["tags", "a:b", "[key]"]),
        ({"headers": {"X-A": "1", "x-a": "2"}}, ["headers"]),
        ({"reply_to": MANY[:51]}, ["reply_to"]),
        ({"nonsense": 1}, ["nonsense"]),
    ],
)
def test_refuses_by_name(client: TestClient, headers: dict[str, str], change: dict[str, Any], where: list[Any]) -> None:
    answer = client.post("/api/emails", json=BODY | change, headers=headers)

    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body", *where]]
    assert not Email.objects.exists()


def test_takes_as_many_recipients_and_files_as_may_be(client: TestClient, headers: dict[str, str]) -> None:
    many = {"to": MANY[:20], "cc": MANY[20:40], "bcc": MANY[40:50], "attachments": [FILE] * 1000}

    assert client.post("/api/emails", json=BODY | many, headers=headers).status_code == 202


@pytest.mark.parametrize("path", ["", "/batch"])
@pytest.mark.parametrize("length", [213, 214, 252])
def test_takes_a_sender_whose_domain_is_as_long_as_one_may_be(
    client: TestClient, headers: dict[str, str], path: str, length: int
) -> None:
    domain = (("d" * 50 + ".") * 5)[: length - 8] + ".example"
    mail = BODY | {"from": f"a@{domain}"}

    answer = client.post(f"/api/emails{path}", json={"emails": [mail]} if path else mail, headers=headers)

    email = Email.objects.get()
    written = message_from_bytes(bytes(email.raw_message.content), policy=policy.default)["Message-ID"]
    assert answer.status_code == 202
    assert (written, len(email.message_id) <= 252) == (email.message_id, True)
    assert domain.endswith(email.message_id.partition("@")[2].rstrip(">"))


def test_a_senders_field_is_called_from(client: TestClient, headers: dict[str, str]) -> None:
    body = {"sender" if name == "from" else name: value for name, value in BODY.items()}

    answer = client.post("/api/emails", json=body, headers=headers)

    assert [(each["loc"], each["type"]) for each in answer.json()["detail"]] == [
        (["body", "from"], "missing"),
        (["body", "sender"], "extra_forbidden"),
    ]


@pytest.mark.parametrize(
    "content", ["-_-_", "é", "====", "QQ==QQ==", "Q!Q==", "data:;base64,QQ==", "QQ", "QQ=", "Q Q==", "\ud800"]
)
def test_refuses_an_attachment_that_is_no_base64(client: TestClient, headers: dict[str, str], content: str) -> None:
    body = json.dumps(BODY | {"attachments": [FILE | {"content": content}]})

    answer = client.post("/api/emails", content=body, headers=headers | JSON)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "attachments", 0, "content"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_takes_an_attachment_in_lines(client: TestClient, headers: dict[str, str], end: str) -> None:
    content = bytes(range(256))
    lines = encodebytes(content).decode().replace("\n", end)

    client.post("/api/emails", json=BODY | {"attachments": [FILE | {"content": lines}]}, headers=headers)

    (attached,) = message_from_bytes(bytes(RawMessage.objects.get().content), policy=policy.default).iter_attachments()
    assert attached.get_payload(decode=True) == content


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "text/calendar; method=REQUEST", "application/x!y"])
def test_an_attachments_type_may_have_parameters(client: TestClient, headers: dict[str, str], content_type: str) -> None:
    answer = client.post("/api/emails", json=BODY | {"attachments": [FILE | {"content_type": content_type}]}, headers=headers)

    assert answer.status_code == 202
    assert f"Content-Type: {content_type}\r\n".encode() in bytes(RawMessage.objects.get().content)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_refuses_a_variable_that_is_no_number_of_json(client: TestClient, headers: dict[str, str], number: str) -> None:
    body = json.dumps(BODY | {"template": "welcome", "variables": {"of": [1, {"it": 0.5}]}}).replace("0.5", number)

    answer = client.post("/api/emails", content=body, headers=headers | JSON)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "variables"])
    assert "of[1].it" in answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_needs_a_credential(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/emails", json=BODY).status_code == 401


def test_needs_the_scope(client: TestClient, teammate: User, token: GetToken) -> None:
    answer = client.post("/api/emails", json=BODY, headers=bearer(token(teammate)))

    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


# Many at once


def test_a_batch_is_accepted_in_order(client: TestClient, headers: dict[str, str]) -> None:
    emails = [BODY | {"subject": str(number)} for number in range(30)]

    answer = client.post("/api/emails/batch", json={"emails": emails}, headers=headers)

    ids = [str(email_id) for email_id in Email.objects.order_by("id").values_list("id", flat=True)]
    assert answer.status_code == 202
    assert [each["id"] for each in answer.json()["data"]] == ids
    assert set(Email.objects.values_list("status", flat=True)) == {Status.SENT}


def test_a_batch_of_a_thousand_takes_no_more_statements_than_one_of_three(
    client: TestClient, headers: dict[str, str], django_assert_max_num_queries: Any
) -> None:
    later = BODY | {"scheduled_at": soon()}

    with django_assert_max_num_queries(60):
        answer = client.post("/api/emails/batch", json={"emails": [later] * 1000}, headers=headers)

    assert len(answer.json()["data"]) == Email.objects.count() == Event.objects.count() == 1000


def test_a_batch_is_accepted_whole_or_not_at_all(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/emails/batch", json={"emails": [BODY, BODY | {"to": "nobody"}, BODY]}, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "emails", 1, "to", 0]
    assert not Email.objects.exists()


def test_a_batch_is_refused_for_a_time_that_is_none_in_utc(client: TestClient, headers: dict[str, str]) -> None:
    emails = [BODY, BODY | {"scheduled_at": BEFORE_ALL}]

    answer = client.post("/api/emails/batch", json={"emails": emails}, headers=headers)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "emails", 1, "scheduled_at"])


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_one_to_a_thousand(client: TestClient, headers: dict[str, str], count: int) -> None:
    assert client.post("/api/emails/batch", json={"emails": [BODY] * count}, headers=headers).status_code == 422


# Idempotency

KEY = {"Idempotency-Key": "order-42"}


@pytest.mark.pitfall(31)
def test_the_same_key_and_body_is_one_mail_and_the_first_answer_again(client: TestClient, headers: dict[str, str]) -> None:
    first = client.post("/api/emails", json=BODY, headers=headers | KEY)
    again = client.post("/api/emails", json=BODY, headers=headers | KEY)

    assert (again.status_code, again.json()) == (202, first.json())
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert Email.objects.count() == 1


@pytest.mark.pitfall(31)
def test_the_same_key_with_another_body_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    client.post("/api/emails", json=BODY, headers=headers | KEY)

    answer = client.post("/api/emails", json=BODY | {"subject": "Another"}, headers=headers | KEY)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Email.objects.count() == 1


def test_the_same_key_with_another_file_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    first, again, other = (BODY | {"attachments": [FILE | {"content": content}]} for content in ("/w==", "/w\n==", "/g=="))
    client.post("/api/emails", json=first, headers=headers | KEY)

    answers = [client.post("/api/emails", json=body, headers=headers | KEY) for body in (again, other)]

    assert [answer.status_code for answer in answers] == [202, 422]


def test_keys_are_each_callers_own(client: TestClient, headers: dict[str, str], stranger_headers: dict[str, str]) -> None:
    ids = {client.post("/api/emails", json=BODY, headers=who | KEY).json()["id"] for who in (headers, stranger_headers)}

    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_refuses_a_key_that_is_none(client: TestClient, headers: dict[str, str], key: str) -> None:
    assert client.post("/api/emails", json=BODY, headers=headers | {"Idempotency-Key": key}).status_code == 422


@pytest.mark.pitfall(31)
def test_the_same_key_and_batch_is_the_first_answer_again(client: TestClient, headers: dict[str, str]) -> None:
    batch = {"emails": [BODY, BODY | {"scheduled_at": soon()}]}

    first = client.post("/api/emails/batch", json=batch, headers=headers | KEY)
    again = client.post("/api/emails/batch", json=batch, headers=headers | KEY)

    assert (again.status_code, again.json()) == (202, first.json())
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert Email.objects.count() == 2


@pytest.mark.parametrize(("route", "other"), [("", "/batch"), ("/batch", ""), ("/batch", "/batch")])
def test_a_key_is_for_one_request_on_either_route(client: TestClient, headers: dict[str, str], route: str, other: str) -> None:
    client.post(f"/api/emails{route}", json={"emails": [BODY]} if route else BODY, headers=headers | KEY)

    body = {"emails": [BODY, BODY]} if other else BODY
    answer = client.post(f"/api/emails{other}", json=body, headers=headers | KEY)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Email.objects.count() == 1


@pytest.mark.parametrize("route", ["", "/batch"])
def test_a_key_is_reused_whatever_became_of_the_template(client: TestClient, headers: dict[str, str], route: str) -> None:
    client.put("/api/templates/welcome", json={"text": "Hi"}, headers=headers)
    made = {"from": "shop@example.com", "to": "ada@example.com", "template": "welcome"}
    bodies = [made | {"subject": subject} for subject in ("one", "other")]
    first, second = ({"emails": [body]} if route else body for body in bodies)
    client.post(f"/api/emails{route}", json=first, headers=headers | KEY)
    client.delete("/api/templates/welcome", headers=headers)

    again = client.post(f"/api/emails{route}", json=first, headers=headers | KEY)
    other = client.post(f"/api/emails{route}", json=second, headers=headers | KEY)

    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


# What a key may


def test_a_key_sends_and_sees_its_own_alone(client: TestClient, headers: dict[str, str]) -> None:
    client.post("/api/emails", json=BODY, headers=headers)
    keys = [bearer(create_key(name, scopes=["emails:send", "emails:read"])) for name in ("one", "other")]

    ids = [client.post("/api/emails", json=BODY, headers=key).json()["id"] for key in keys]

    assert [[email["id"] for email in client.get("/api/emails", headers=key).json()["data"]] for key in keys] == [
        [ids[0]],
        [ids[1]],
    ]
    assert client.get(f"/api/emails/{ids[0]}", headers=keys[1]).status_code == 404
    assert client.get("/api/me", headers=keys[0]).json() == {
        "kind": "key",
        "name": "one",
        "scopes": ["emails:read", "emails:send"],
    }


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("/api/emails", BODY | {"from": "Boss <boss@elsewhere.example>"}),
        ("/api/emails/batch", {"emails": [BODY, BODY | {"from": "boss@elsewhere.example"}]}),
        ("/api/send-email/?email=ada@example.com&message=Hi", None),
    ],
)
def test_a_key_sends_as_its_senders_alone(client: TestClient, lent: None, call: str, body: dict[str, Any] | None) -> None:
    headers = bearer(create_key("shop", scopes=["emails:send"], allowed_senders=["*@example.com"]))

    allowed = client.post("/api/emails", json=BODY, headers=headers)
    refused = client.post(call, json=body, headers=headers)

    assert (allowed.status_code, refused.status_code, refused.json()["code"]) == (202, 403, "sender_not_allowed")
    assert Email.objects.count() == 1


def test_a_key_may_no_more_than_its_scopes(client: TestClient, lent: None) -> None:
    key = bearer(create_key("reader", scopes=["emails:read"]))

    assert client.post("/api/emails", json=BODY, headers=key).json()["code"] == "missing_scope"
    assert client.get("/api/emails", headers=key).status_code == 200


@pytest.mark.parametrize("key", ["mr_", "mr_nonsense", "mr_" + "a" * 57])
def test_a_bad_key_is_refused(client: TestClient, key: str) -> None:
    answer = client.get("/api/emails", headers=bearer(key))

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
