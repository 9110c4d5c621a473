"""Routes that send emails. The lifespan and its worker do not run, so a background task of each request delivers its emails."""

import json
from base64 import b64encode, encodebytes
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from starlette.testclient import TestClient

from fastapi_app.emails.schemas import EmailIn
from fastapi_app.problems import ITEMS_AT_ONCE
from project.accounts.models import User
from project.api_keys.keys import create_key
from project.emails.mime.pieces import PIECE_LENGTH
from project.emails.models import Email, RawMessage
from project.emails.status import Status
from project.events.models import Event
from project.transports.models import MailboxMessage
from tests.databases import USES_POSTGRESQL
from tests.fastapi_app.conftest import GetToken, bearer
from tests.fastapi_app.payloads import BEFORE_YEAR_1, BODY, soon

# Sending


def test_accepts_and_sends_an_email(client: TestClient, headers: dict[str, str]) -> None:
    response = client.post("/api/emails", json=BODY, headers=headers)

    email = Email.objects.get()
    assert response.status_code == 202
    assert response.json() == {"id": str(email.id), "status": "queued", "created_at": response.json()["created_at"]}
    assert email.status == Status.SENT
    assert MailboxMessage.objects.get().recipients == ["ada@example.com"]


def test_sends_the_message_that_was_stored(client: TestClient, headers: dict[str, str]) -> None:
    file = {"filename": "räksmörgås.txt", "content": b64encode(b"smorgas").decode(), "content_type": "text/plain"}
    extra = {"cc": ["Bob <bob@example.com>"], "bcc": ["eve@example.com"], "headers": {"X-Order": "42"}, "attachments": [file]}

    client.post("/api/emails", json=BODY | extra | {"html": "<p>It is <b>on its way</b>.</p>"}, headers=headers)

    received = MailboxMessage.objects.get()
    message = message_from_bytes(bytes(received.source), policy=policy.default)
    assert bytes(received.source) == bytes(RawMessage.objects.get().content)
    assert received.recipients == ["ada@example.com", "bob@example.com", "eve@example.com"]
    assert (message["From"], message["To"], message["Cc"], message["Bcc"]) == (
        "Shop <shop@example.com>",
        "ada@example.com",
        "Bob <bob@example.com>",
        None,
    )
    assert (message["X-Order"], message["Message-ID"]) == ("42", Email.objects.get().message_id)
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_payload(decode=True)) == ("räksmörgås.txt", b"smorgas")


@pytest.mark.parametrize("path", ["", "/batch"])
def test_null_means_that_a_field_is_absent(client: TestClient, headers: dict[str, str], path: str) -> None:
    file = {"filename": "a.txt", "content": "", "content_type": None, "content_id": None}
    nulls = {name: None for name, field in EmailIn.model_fields.items() if not field.is_required()}
    email_body = nulls | {"from": "shop@example.com", "to": "ada@example.com", "text": "Hi", "attachments": [file]}

    response = client.post(f"/api/emails{path}", json={"emails": [email_body]} if path else email_body, headers=headers)

    email = Email.objects.get()
    assert response.status_code == 202
    assert (email.cc, email.bcc, email.reply_to, email.subject, email.html, email.tags) == ([], [], [], "", "", {})


@pytest.mark.parametrize("change", [{"from": None}, {"to": None}, {"attachments": [{"filename": None, "content": ""}]}])
def test_null_for_a_required_field_is_rejected(client: TestClient, headers: dict[str, str], change: dict[str, Any]) -> None:
    assert client.post("/api/emails", json=BODY | change, headers=headers).status_code == 422


@pytest.mark.parametrize("name", ["to", "cc", "bcc", "reply_to"])
@pytest.mark.parametrize("value", ["{ada}, {bob}", "{ada}; {bob};", ["{ada},{bob}"], ["{ada}", "{bob}"]])
def test_addresses_in_one_string_are_separate(client: TestClient, headers: dict[str, str], name: str, value: Any) -> None:
    ada, bob = '"Lovelace, Ada" <ada@x.example>', "Bob <bob@x.example>"
    filled = [each.format(ada=ada, bob=bob) for each in value] if isinstance(value, list) else value.format(ada=ada, bob=bob)

    response = client.post("/api/emails", json=BODY | {name: filled}, headers=headers)

    email = Email.objects.get()
    expected = ["ada@x.example", "bob@x.example"] if name != "reply_to" else []
    assert (response.status_code, getattr(email, name)) == (202, [ada, bob])
    assert [address for address in MailboxMessage.objects.get().recipients if address.endswith("@x.example")] == expected


def test_the_maximum_of_recipients_counts_each_address_of_a_string(client: TestClient, headers: dict[str, str]) -> None:
    many = {"to": ",".join(MANY[:25]), "cc": ";".join(MANY[25:50])}

    assert client.post("/api/emails", json=BODY | many, headers=headers).status_code == 202
    assert client.post("/api/emails", json=BODY | many | {"bcc": MANY[50]}, headers=headers).status_code == 422


@pytest.mark.parametrize(
    ("filename", "given", "received"),
    [
        ("a.pdf", {}, "application/pdf"),
        ("logo.png", {"content_id": "logo"}, "image/png"),
        ("a.pdf", {"content_type": None}, "application/pdf"),
        ("a.pdf", {"content_type": "application/octet-stream"}, "application/octet-stream"),
        ("a.unknown", {}, "application/octet-stream"),
    ],
)
def test_the_file_name_decides_the_content_type(
    client: TestClient, headers: dict[str, str], filename: str, given: dict[str, Any], received: str
) -> None:
    file = {"filename": filename, "content": "aGk="} | given

    client.post("/api/emails", json=BODY | {"html": '<img src="cid:logo">', "attachments": [file]}, headers=headers)

    message = message_from_bytes(bytes(RawMessage.objects.get().content))
    assert [part.get_content_type() for part in message.walk() if part.get_filename() == filename] == [received]


FILE = {"filename": "a", "content": ""}
MANY = [f"a{number}@example.com" for number in range(60)]
JSON = {"Content-Type": "application/json"}  # for bodies that the test client cannot encode as JSON


@pytest.mark.parametrize(
    ("change", "location"),
    [
        ({"text": None}, []),
        ({"to": []}, ["to"]),
        ({"to": "nobody"}, ["to", 0]),
        ({"to": ["ada@example.com", "Bob <bob@example.com>, eve"]}, ["to", 1]),
        ({"from": "Ada <ada@example.com>, Bob <bob@example.com>"}, ["from"]),
        ({"to": " , "}, ["to"]),
        ({"to": MANY[:51]}, ["to"]),
        ({"to": ", ".join(MANY[:51])}, ["to"]),
        ({"reply_to": [", ".join(MANY[:26])] * 2}, ["reply_to"]),
        ({"to": ["nobody"] * 10_000}, ["to"]),
        ({"cc": MANY[:51]}, ["cc"]),
        ({"bcc": MANY[:51]}, ["bcc"]),
        ({"to": MANY[:20], "cc": MANY[20:40], "bcc": MANY[40:51]}, []),
        ({"subject": "a\r\nBcc: eve@example.com"}, ["subject"]),
        ({"from": "a\nb <a@example.com>"}, ["from"]),
        ({"from": '"' * 200 + "a <a@example.com>"}, ["from"]),  # the name is too long after its quotes are escaped
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
        ({"scheduled_at": BEFORE_YEAR_1}, ["scheduled_at"]),
        ({"tags": {"a:b": "c"}}, ["tags", "a:b", "[key]"]),
        ({"headers": {"X-A": "1", "x-a": "2"}}, ["headers"]),
        ({"reply_to": MANY[:51]}, ["reply_to"]),
        ({"nonsense": 1}, ["nonsense"]),
    ],
)
def test_rejects_an_invalid_field_with_its_location(
    client: TestClient, headers: dict[str, str], change: dict[str, Any], location: list[Any]
) -> None:
    response = client.post("/api/emails", json=BODY | change, headers=headers)

    assert response.status_code == 422
    assert [problem["loc"] for problem in response.json()["detail"]] == [["body", *location]]
    assert not Email.objects.exists()


def test_accepts_the_maximum_of_recipients_and_attachments(client: TestClient, headers: dict[str, str]) -> None:
    many = {"to": MANY[:20], "cc": MANY[20:40], "bcc": MANY[40:50], "attachments": [FILE] * 1000}

    assert client.post("/api/emails", json=BODY | many, headers=headers).status_code == 202


@pytest.mark.parametrize("path", ["", "/batch"])
@pytest.mark.parametrize("length", [213, 214, 252])
def test_accepts_a_sender_with_a_long_domain(client: TestClient, headers: dict[str, str], path: str, length: int) -> None:
    domain = (("d" * 50 + ".") * 5)[: length - 8] + ".example"
    email_body = BODY | {"from": f"a@{domain}"}

    response = client.post(f"/api/emails{path}", json={"emails": [email_body]} if path else email_body, headers=headers)

    email = Email.objects.get()
    message_id = message_from_bytes(bytes(email.raw_message.content), policy=policy.default)["Message-ID"]
    assert response.status_code == 202
    assert (message_id, len(email.message_id) <= 252) == (email.message_id, True)
    assert domain.endswith(email.message_id.partition("@")[2].rstrip(">"))


def test_the_sender_field_is_called_from(client: TestClient, headers: dict[str, str]) -> None:
    body = {"sender" if name == "from" else name: value for name, value in BODY.items()}

    response = client.post("/api/emails", json=body, headers=headers)

    assert [(each["loc"], each["type"]) for each in response.json()["detail"]] == [
        (["body", "from"], "missing"),
        (["body", "sender"], "extra_forbidden"),
    ]


@pytest.mark.parametrize(
    "content", ["-_-_", "é", "====", "QQ==QQ==", "Q!Q==", "data:;base64,QQ==", "QQ", "QQ=", "Q Q==", "\ud800"]
)
def test_rejects_an_attachment_with_invalid_base64(client: TestClient, headers: dict[str, str], content: str) -> None:
    body = json.dumps(BODY | {"attachments": [FILE | {"content": content}]})

    response = client.post("/api/emails", content=body, headers=headers | JSON)

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "attachments", 0, "content"]


def test_rejects_padding_within_a_long_attachment(client: TestClient, headers: dict[str, str]) -> None:
    content = "QQ==".rjust(PIECE_LENGTH, "A") + "QQ=="

    response = client.post("/api/emails", json=BODY | {"attachments": [FILE | {"content": content}]}, headers=headers)

    assert response.json()["detail"][0]["loc"] == ["body", "attachments", 0, "content"]


@pytest.mark.parametrize("size", [PIECE_LENGTH - 1, PIECE_LENGTH, 3 * PIECE_LENGTH + 1])
@pytest.mark.parametrize("end", ["", "\r\n"])
def test_accepts_a_long_attachment(client: TestClient, headers: dict[str, str], size: int, end: str) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    file = FILE | {"content": encodebytes(content[:size]).decode().replace("\n", end)}

    first = client.post("/api/emails", json=BODY | {"attachments": [file]}, headers=headers | {"Idempotency-Key": "1"})
    again = client.post("/api/emails", json=BODY | {"attachments": [file]}, headers=headers | {"Idempotency-Key": "1"})

    assert first.json() == again.json()
    (attached,) = message_from_bytes(bytes(RawMessage.objects.get().content), policy=policy.default).iter_attachments()
    assert attached.get_payload(decode=True) == content[:size]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_accepts_base64_with_line_breaks(client: TestClient, headers: dict[str, str], end: str) -> None:
    content = bytes(range(256))
    lines = encodebytes(content).decode().replace("\n", end)

    client.post("/api/emails", json=BODY | {"attachments": [FILE | {"content": lines}]}, headers=headers)

    (attached,) = message_from_bytes(bytes(RawMessage.objects.get().content), policy=policy.default).iter_attachments()
    assert attached.get_payload(decode=True) == content


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "text/calendar; method=REQUEST", "application/x!y"])
def test_accepts_a_content_type_with_parameters(client: TestClient, headers: dict[str, str], content_type: str) -> None:
    response = client.post("/api/emails", json=BODY | {"attachments": [FILE | {"content_type": content_type}]}, headers=headers)

    assert response.status_code == 202
    assert f"Content-Type: {content_type}".encode() in bytes(RawMessage.objects.get().content)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_rejects_a_variable_that_is_not_a_finite_number(client: TestClient, headers: dict[str, str], number: str) -> None:
    body = json.dumps(BODY | {"template": "welcome", "variables": {"of": [1, {"it": 0.5}]}}).replace("0.5", number)

    response = client.post("/api/emails", content=body, headers=headers | JSON)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "variables"])
    assert "of[1].it" in response.json()["detail"][0]["msg"]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_requires_a_credential(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/emails", json=BODY).status_code == 401


def test_requires_the_scope(client: TestClient, teammate: User, token: GetToken) -> None:
    response = client.post("/api/emails", json=BODY, headers=bearer(token(teammate)))

    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


# Batches


def test_accepts_a_batch_in_order(client: TestClient, headers: dict[str, str]) -> None:
    emails = [BODY | {"subject": str(number)} for number in range(30)]

    response = client.post("/api/emails/batch", json={"emails": emails}, headers=headers)

    ids = [str(email_id) for email_id in Email.objects.order_by("id").values_list("id", flat=True)]
    assert response.status_code == 202
    assert [each["id"] for each in response.json()["data"]] == ids
    assert set(Email.objects.values_list("status", flat=True)) == {Status.SENT}


def test_the_number_of_queries_does_not_grow_with_the_batch(
    client: TestClient, headers: dict[str, str], django_assert_max_num_queries: Any
) -> None:
    later = BODY | {"scheduled_at": soon()}

    with django_assert_max_num_queries(120 if USES_POSTGRESQL else 100):  # PostgreSQL gets smaller groups of rows
        response = client.post("/api/emails/batch", json={"emails": [later] * 1000}, headers=headers)

    assert len(response.json()["data"]) == Email.objects.count() == Event.objects.count() == 1000


def test_rejects_a_whole_batch_for_one_invalid_email(client: TestClient, headers: dict[str, str]) -> None:
    response = client.post("/api/emails/batch", json={"emails": [BODY, BODY | {"to": "nobody"}, BODY]}, headers=headers)

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "emails", 1, "to", 0]
    assert not Email.objects.exists()


def test_names_the_indexes_of_all_invalid_emails_of_a_batch(client: TestClient, headers: dict[str, str]) -> None:
    invalid = {0, ITEMS_AT_ONCE - 1, ITEMS_AT_ONCE, ITEMS_AT_ONCE * 3 + 1}
    emails = [BODY | {"to": "nobody"} if index in invalid else BODY for index in range(ITEMS_AT_ONCE * 4)]

    response = client.post("/api/emails/batch", json={"emails": emails}, headers=headers)

    assert [problem["loc"] for problem in response.json()["detail"]] == [
        ["body", "emails", each, "to", 0] for each in sorted(invalid)
    ]


def test_rejects_a_batch_with_a_time_before_year_1(client: TestClient, headers: dict[str, str]) -> None:
    emails = [BODY, BODY | {"scheduled_at": BEFORE_YEAR_1}]

    response = client.post("/api/emails/batch", json={"emails": emails}, headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "emails", 1, "scheduled_at"])


@pytest.mark.parametrize("count", [0, 1001])
def test_rejects_a_batch_that_is_empty_or_too_large(client: TestClient, headers: dict[str, str], count: int) -> None:
    assert client.post("/api/emails/batch", json={"emails": [BODY] * count}, headers=headers).status_code == 422


# API keys


def test_an_api_key_sees_only_its_own_emails(client: TestClient, headers: dict[str, str]) -> None:
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
def test_an_api_key_sends_only_from_its_allowed_senders(
    client: TestClient, shared_test_connection: None, call: str, body: dict[str, Any] | None
) -> None:
    headers = bearer(create_key("shop", scopes=["emails:send"], allowed_senders=["*@example.com"]))

    allowed = client.post("/api/emails", json=BODY, headers=headers)
    rejected = client.post(call, json=body, headers=headers)

    assert (allowed.status_code, rejected.status_code, rejected.json()["code"]) == (202, 403, "sender_not_allowed")
    assert Email.objects.count() == 1


def test_an_api_key_is_limited_to_its_scopes(client: TestClient, shared_test_connection: None) -> None:
    key = bearer(create_key("reader", scopes=["emails:read"]))

    assert client.post("/api/emails", json=BODY, headers=key).json()["code"] == "insufficient_scope"
    assert client.get("/api/emails", headers=key).status_code == 200


def test_rejects_a_batch_that_takes_too_long_to_build(
    client: TestClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.emails.mime.build_budget.MAX_STEPS_PER_BATCH", 1000)
    costly = BODY | {"text": None, "html": "<a>" * 400}

    rejected = client.post("/api/emails/batch", json={"emails": [BODY, costly, costly, costly]}, headers=headers)
    accepted = client.post("/api/emails/batch", json={"emails": [costly, BODY]}, headers=headers)

    assert (rejected.status_code, rejected.json()["code"]) == (422, "batch_too_complex")
    assert rejected.json()["detail"].startswith("Email 3: ")
    assert (accepted.status_code, Email.objects.count()) == (202, 2)


@pytest.mark.parametrize("key", ["mr_", "mr_nonsense", "mr_" + "a" * 57])
def test_rejects_an_invalid_api_key(client: TestClient, key: str) -> None:
    response = client.get("/api/emails", headers=bearer(key))

    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("limit", "path", "detail"),
    [
        ("project.emails.submit.MAX_MESSAGE_BYTES", "", "The encoded email has more than 2000 bytes."),
        ("project.emails.submit.MAX_MESSAGE_BYTES", "/batch", "Email 1: The encoded email has more than 2000 bytes."),
        ("project.emails.submission_service.MAX_BATCH_BYTES", "/batch", "more than 2000 bytes together"),
    ],
)
def test_rejects_emails_that_are_too_large_when_encoded(
    client: TestClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch, limit: str, path: str, detail: str
) -> None:
    monkeypatch.setattr(limit, 2000)
    large = BODY | {"html": "x" * 3000}

    response = client.post(f"/api/emails{path}", json={"emails": [BODY, large]} if path else large, headers=headers)

    assert (response.status_code, response.json()["code"]) == (422, "email_too_large")
    assert detail in response.json()["detail"]
    assert not Email.objects.exists()
