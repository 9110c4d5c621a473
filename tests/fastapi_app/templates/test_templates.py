"""The template routes, and emails that use templates."""

from email import message_from_bytes, policy
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from starlette.testclient import TestClient

from project.accounts.models import User
from project.emails.admin.message_parser import parse_message
from project.emails.models import Email, RawMessage
from project.mail_templates.models import Template
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import GetToken, bearer

WELCOME = {"subject": "Welcome, {{ name }}", "text": "Hi {{ name }}", "html": "<p>Hi {{ name }}</p>"}
EMAIL = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "template": "welcome"}


@pytest.fixture
def welcome(client: TestClient, headers: dict[str, str]) -> dict[str, Any]:
    """Create a template, and return its JSON."""
    template: dict[str, Any] = client.put("/api/templates/welcome", json=WELCOME, headers=headers).json()
    return template


@pytest.fixture
def reader(token: GetToken) -> dict[str, str]:
    """Return the headers of a request by a user who may read templates but not change them."""
    user = User.objects.create_user("reader", password=PASSWORD)
    user.user_permissions.add(Permission.objects.get(codename="view_template"))
    return bearer(token(user))


# Storing templates


def test_creates_a_template(client: TestClient, headers: dict[str, str]) -> None:
    response = client.put("/api/templates/welcome", json=WELCOME, headers=headers)

    created = response.json()
    assert response.status_code == 200
    assert created == {"slug": "welcome", "version": 1, **WELCOME, "created_at": created["created_at"]}
    assert created["created_at"].endswith("Z")
    assert client.get("/api/templates/welcome", headers=headers).json() == created


def test_creates_the_next_version(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    response = client.put("/api/templates/welcome", json={"text": "Hello"}, headers=headers)

    assert response.json() | {"created_at": ""} == {
        "slug": "welcome",
        "version": 2,
        "subject": "",
        "text": "Hello",
        "html": None,
        "created_at": "",
    }


def test_null_means_that_a_part_is_absent(client: TestClient, headers: dict[str, str]) -> None:
    response = client.put("/api/templates/welcome", json={"subject": None, "text": None, "html": "<p>"}, headers=headers)

    assert (response.status_code, response.json()["subject"], response.json()["text"]) == (200, "", None)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x1b", "\x85", "\u202e", "\u2067"])
def test_rejects_a_misleading_subject(client: TestClient, headers: dict[str, str], end: str) -> None:
    response = client.put("/api/templates/welcome", json={"subject": f"a{end}b", "text": "x"}, headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "subject"])
    assert not Template.objects.exists()


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_rejects_a_number_that_json_does_not_have(client: TestClient, headers: dict[str, str], number: str) -> None:
    body = f'{{"variables": {{"price": {number}}}}}'

    response = client.post("/api/templates/welcome/preview", content=body, headers=headers | {"Content-Type": "application/json"})

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "variables"])


def test_deletes_a_template(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    first = client.delete("/api/templates/welcome", headers=headers)
    again = client.delete("/api/templates/welcome", headers=headers)

    assert (first.status_code, first.content) == (204, b"")
    assert (again.status_code, again.json()["code"]) == (404, "template_not_found")
    assert client.put("/api/templates/welcome", json=WELCOME, headers=headers).json()["version"] == 2


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/preview")])
def test_an_unknown_template_is_not_found(client: TestClient, headers: dict[str, str], method: str, path: str) -> None:
    response = client.request(method, f"/api/templates/nope{path}", json={} if path else None, headers=headers)

    assert response.status_code == 404
    assert response.json() == {"detail": "Template nope not found.", "code": "template_not_found"}


def test_lists_templates_page_by_page(client: TestClient, headers: dict[str, str]) -> None:
    for slug in ("b", "a", "c"):
        client.put(f"/api/templates/{slug}", json=WELCOME, headers=headers)

    first = client.get("/api/templates?limit=2", headers=headers).json()
    last = client.get(f"/api/templates?limit=2&after={first['next']}", headers=headers).json()

    assert [template["slug"] for template in first["data"]] == ["a", "b"]
    assert first["data"][0] == {
        "slug": "a",
        "version": 1,
        "subject": WELCOME["subject"],
        "created_at": first["data"][0]["created_at"],
    }
    assert ([template["slug"] for template in last["data"]], first["next"], last["next"]) == (["c"], "b", None)


@pytest.mark.parametrize("slug", ["Welcome", "a.b", "ä", "a" * 101, "a%20b"])
def test_rejects_an_invalid_slug(client: TestClient, headers: dict[str, str], slug: str) -> None:
    response = client.put(f"/api/templates/{slug}", json=WELCOME, headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["path", "slug"])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"subject": "Hi"}, []),
        ({"text": "", "html": ""}, []),
        ({"text": "\x00"}, ["text"]),
        ({"text": "a" * 300_000}, ["text"]),
        ({"text": "Hi", "subject": "a" * 999}, ["subject"]),
        ({"text": "Hi", "name": "welcome"}, ["name"]),
    ],
)
def test_rejects_an_invalid_template(client: TestClient, headers: dict[str, str], body: dict[str, str], where: list[str]) -> None:
    response = client.put("/api/templates/welcome", json=body, headers=headers)

    assert (response.status_code, [error["loc"] for error in response.json()["detail"]]) == (422, [["body", *where]])


def test_a_syntax_error_names_its_part_and_line_and_keeps_the_current_version(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    response = client.put("/api/templates/welcome", json=WELCOME | {"html": "<p>\n{% nope %}</p>"}, headers=headers)

    problem = {"loc": ["body", "html"], "msg": "html, line 2: unexpected tag 'nope'", "type": "template_syntax"}
    assert (response.status_code, response.json()) == (422, {"detail": [problem]})
    assert client.get("/api/templates/welcome", headers=headers).json() == welcome


# Previews


@pytest.mark.parametrize("body", [{}, {"variables": None}])
def test_previews_a_template_without_variables(client: TestClient, headers: dict[str, str], body: dict[str, None]) -> None:
    client.put("/api/templates/plain", json={"text": "Hi"}, headers=headers)

    response = client.post("/api/templates/plain/preview", json=body, headers=headers)

    assert (response.status_code, response.json()["text"]) == (200, "Hi")


def test_previews_a_template(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    response = client.post("/api/templates/welcome/preview", json={"variables": {"name": "<Ada>"}}, headers=headers)

    assert response.status_code == 200
    assert response.json() == {"subject": "Welcome, <Ada>", "text": "Hi <Ada>", "html": "<p>Hi &lt;Ada&gt;</p>"}
    assert not Email.objects.exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\n{{ user.nick }}", ("text, line 2: unknown variable 'user.nick'", "template_variable")),
        ("{% for i in (1..1000000000) %}{% endfor %}", ("text, line 1: range has more than 10000 items", "template_limit")),
        ("\n{{ 1 | divided_by: 0 }}", ("text, line 2: divided_by: can't divide by 0", "template_value")),
    ],
)
def test_a_preview_reports_the_error(client: TestClient, headers: dict[str, str], text: str, problem: tuple[str, str]) -> None:
    client.put("/api/templates/wrong", json={"text": text}, headers=headers)

    response = client.post("/api/templates/wrong/preview", json={"variables": {"user": {}}}, headers=headers)

    assert response.status_code == 422
    assert response.json() == {"detail": [{"loc": ["body", "text"], "msg": problem[0], "type": problem[1]}]}


@pytest.mark.parametrize("variables", ["[1]", '{"a": "\\ud800"}', "[" * 40 + "]" * 40, '{"a": ' + "[" * 40 + "]" * 40 + "}"])
def test_rejects_invalid_variables(client: TestClient, headers: dict[str, str], welcome: dict[str, Any], variables: str) -> None:
    content = f'{{"variables": {variables}}}'

    response = client.post(
        "/api/templates/welcome/preview", content=content, headers=headers | {"Content-Type": "application/json"}
    )

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "variables"])


# Permissions


def test_the_read_permission_does_not_allow_writing(client: TestClient, reader: dict[str, str], welcome: dict[str, Any]) -> None:
    preview = client.post("/api/templates/welcome/preview", json={"variables": {"name": "Ada"}}, headers=reader)
    read = [client.get(path, headers=reader).status_code for path in ("/api/templates", "/api/templates/welcome")]
    write = [
        client.put("/api/templates/welcome", json=WELCOME, headers=reader).status_code,
        client.delete("/api/templates/welcome", headers=reader).status_code,
    ]

    assert (preview.status_code, read, write) == (200, [200, 200], [403, 403])


def test_listing_templates_requires_a_credential(client: TestClient) -> None:
    assert client.get("/api/templates").status_code == 401


# Emails from templates


def stored_parts(email: Email) -> tuple[str, str]:
    """Return the text and the HTML of the stored message, without the line end that the builder adds."""
    message = parse_message(bytes(RawMessage.objects.get(email=email).content))
    return message.text.rstrip("\r\n"), message.html.rstrip("\r\n")


def test_sends_the_rendered_template(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    response = client.post("/api/emails", json=EMAIL | {"variables": {"name": "<Ada>"}}, headers=headers)

    email, template = Email.objects.get(), Template.objects.get()
    message = message_from_bytes(bytes(RawMessage.objects.get().content), policy=policy.default)
    assert response.status_code == 202
    assert (email.template, email.subject) == (template, "Welcome, <Ada>")
    assert stored_parts(email) == ("Hi <Ada>", "<p>Hi &lt;Ada&gt;</p>")
    assert message["Subject"] == "Welcome, <Ada>"


def test_a_new_version_does_not_change_accepted_emails(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    later = {"scheduled_at": "2026-12-01T09:00:00Z", "variables": {"name": "Ada"}}
    client.post("/api/emails", json=EMAIL | later, headers=headers)

    client.put("/api/templates/welcome", json={"text": "Something else"}, headers=headers)

    email = Email.objects.get()
    assert email.template is not None
    assert (stored_parts(email)[0], email.template.version) == ("Hi Ada", 1)


def test_the_subject_of_the_request_wins(client: TestClient, headers: dict[str, str]) -> None:
    client.put("/api/templates/welcome", json={"subject": "{{ unknown }}", "text": "Hi"}, headers=headers)

    response = client.post("/api/emails", json=EMAIL | {"subject": "Mine"}, headers=headers)

    assert (response.status_code, Email.objects.get().subject) == (202, "Mine")


def test_the_text_of_the_request_wins(client: TestClient, headers: dict[str, str]) -> None:
    client.put(
        "/api/templates/welcome", json={"subject": "Theirs", "text": "{{ unknown }}", "html": "<p>Hi</p>"}, headers=headers
    )

    response = client.post("/api/emails", json=EMAIL | {"text": "Mine"}, headers=headers)

    email = Email.objects.get()
    assert (response.status_code, email.subject, stored_parts(email)) == (202, "Theirs", ("Mine", "<p>Hi</p>"))


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        ({"template": "nope"}, ["template"], "Template nope not found."),
        ({"variables": {}}, ["variables"], "subject, line 1: unknown variable 'name'"),
        ({"variables": {"name": "a\nb"}}, ["template"], "subject: must be a single line"),
        ({"template": None, "text": "Hi"}, [], "Provide variables only together with a template."),
        ({"template": None, "variables": {}}, [], "Provide at least one of text, html or template."),
        ({"template": "a b"}, ["template"], "pattern"),
    ],
)
def test_rejects_an_email_with_an_invalid_template(
    client: TestClient,
    headers: dict[str, str],
    welcome: dict[str, Any],
    change: dict[str, Any],
    where: list[str],
    message: str,
) -> None:
    response = client.post("/api/emails", json=EMAIL | {"variables": {"name": "Ada"}} | change, headers=headers)

    (problem,) = response.json()["detail"]
    assert (response.status_code, problem["loc"]) == (422, ["body", *where])
    assert message in problem["msg"]
    assert not Email.objects.exists()


def test_a_batch_mixes_emails_with_and_without_a_template(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    plain = {"from": "shop@example.com", "to": "bob@example.com", "text": "Plain"}
    emails = [EMAIL | {"variables": {"name": "Ada"}}, plain, EMAIL | {"variables": {"name": "Eve"}}]

    response = client.post("/api/emails/batch", json={"emails": emails}, headers=headers)

    texts = [stored_parts(Email.objects.get(id=email["id"]))[0] for email in response.json()["data"]]
    assert (response.status_code, texts) == (202, ["Hi Ada", "Plain", "Hi Eve"])


@pytest.mark.parametrize(("change", "where"), [({"template": "nope"}, "template"), ({"variables": {}}, "variables")])
def test_a_batch_error_names_the_index_and_no_email_is_sent(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any], change: dict[str, Any], where: str
) -> None:
    email = EMAIL | {"variables": {"name": "Ada"}}

    response = client.post("/api/emails/batch", json={"emails": [email, email | change]}, headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "emails", 1, where])
    assert not Email.objects.exists()


def test_rejects_a_batch_that_takes_too_many_steps(
    client: TestClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.mail_templates.render_budget.MAX_STEPS_PER_REQUEST", 500)
    client.put("/api/templates/welcome", json={"text": "{% for i in (1..100) %}{{ i }}{% endfor %}"}, headers=headers)

    sent = client.post("/api/emails", json=EMAIL, headers=headers)
    batch = client.post("/api/emails/batch", json={"emails": [EMAIL] * 5}, headers=headers)

    (problem,) = batch.json()["detail"]
    assert (sent.status_code, batch.status_code, problem["type"]) == (202, 422, "template_limit")
    assert "all emails of this request" in problem["msg"]
    assert (problem["loc"][:2], Email.objects.count()) == (["body", "emails"], 1)


def test_rejects_a_batch_that_renders_to_too_much_text(client: TestClient, headers: dict[str, str]) -> None:
    client.put("/api/templates/welcome", json={"text": "{{ a }}" * 1000}, headers=headers)
    email = EMAIL | {"variables": {"a": "a" * 1000}}

    response = client.post("/api/emails/batch", json={"emails": [email] * 70}, headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "emails", 67, "template"])


def test_the_same_idempotency_key_and_body_replay_the_first_response(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    email, key = EMAIL | {"variables": {"name": "Ada"}}, headers | {"Idempotency-Key": "order-42"}
    first = client.post("/api/emails", json=email, headers=key)
    client.put("/api/templates/welcome", json={"text": "Something else"}, headers=headers)

    again = client.post("/api/emails", json=email, headers=key)
    other = client.post("/api/emails", json=email | {"variables": {"name": "Eve"}}, headers=key)

    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    assert other.json()["code"] == "idempotency_key_reused"


def test_deleting_the_template_does_not_change_a_replayed_response(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    email, key = EMAIL | {"variables": {"name": "Ada"}}, headers | {"Idempotency-Key": "order-42"}
    first = client.post("/api/emails", json=email, headers=key)
    client.delete("/api/templates/welcome", headers=headers)

    again = client.post("/api/emails", json=email, headers=key)

    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (202, first.json(), "true")


def test_an_email_shows_its_template(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    accepted = client.post("/api/emails", json=EMAIL | {"variables": {"name": "Ada"}}, headers=headers).json()

    email = client.get(f"/api/emails/{accepted['id']}", headers=headers).json()
    listed = client.get("/api/emails", headers=headers).json()["data"]

    assert email["template"] == {"slug": "welcome", "version": 1}
    assert [item["template"] for item in listed] == [email["template"]]
