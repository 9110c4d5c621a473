"""The template routes, and mails that are made from templates."""

from email import message_from_bytes, policy
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from starlette.testclient import TestClient

from project.accounts.models import User
from project.emails.models import Email, RawMessage
from project.mail_templates.models import Template
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import GetToken, bearer

WELCOME = {"subject": "Welcome, {{ name }}", "text": "Hi {{ name }}", "html": "<p>Hi {{ name }}</p>"}
MAIL = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "template": "welcome"}


@pytest.fixture
def welcome(client: TestClient, headers: dict[str, str]) -> dict[str, Any]:
    """A template."""
    answer: dict[str, Any] = client.put("/api/templates/welcome", json=WELCOME, headers=headers).json()
    return answer


@pytest.fixture
def reader(token: GetToken) -> dict[str, str]:
    """Somebody who may see templates, and not change them."""
    user = User.objects.create_user("reader", password=PASSWORD)
    user.user_permissions.add(Permission.objects.get(codename="view_template"))
    return bearer(token(user))


# Keeping them


def test_puts_a_template(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.put("/api/templates/welcome", json=WELCOME, headers=headers)

    made = answer.json()
    assert (answer.status_code, made) == (200, {"slug": "welcome", "version": 1, **WELCOME, "created_at": made["created_at"]})
    assert made["created_at"].endswith("Z")
    assert client.get("/api/templates/welcome", headers=headers).json() == made


def test_puts_the_next_version(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    answer = client.put("/api/templates/welcome", json={"text": "Hello"}, headers=headers)

    assert answer.json() | {"created_at": ""} == {
        "slug": "welcome",
        "version": 2,
        "subject": "",
        "text": "Hello",
        "html": None,
        "created_at": "",
    }


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_subject_is_one_line(client: TestClient, headers: dict[str, str], end: str) -> None:
    answer = client.put("/api/templates/welcome", json={"subject": f"a{end}b", "text": "x"}, headers=headers)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "subject"])
    assert not Template.objects.exists()


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_previews_no_number_that_is_none(client: TestClient, headers: dict[str, str], number: str) -> None:
    body = f'{{"variables": {{"price": {number}}}}}'

    answer = client.post("/api/templates/welcome/preview", content=body, headers=headers | {"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "variables"])


def test_deletes_a_template(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    first = client.delete("/api/templates/welcome", headers=headers)
    again = client.delete("/api/templates/welcome", headers=headers)

    assert (first.status_code, first.content) == (204, b"")
    assert (again.status_code, again.json()["code"]) == (404, "template_not_found")
    assert client.put("/api/templates/welcome", json=WELCOME, headers=headers).json()["version"] == 2


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/preview")])
def test_an_unknown_template_is_not_found(client: TestClient, headers: dict[str, str], method: str, path: str) -> None:
    answer = client.request(method, f"/api/templates/nope{path}", json={} if path else None, headers=headers)

    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no template nope.", "code": "template_not_found"}


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
def test_refuses_a_slug(client: TestClient, headers: dict[str, str], slug: str) -> None:
    answer = client.put(f"/api/templates/{slug}", json=WELCOME, headers=headers)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["path", "slug"])


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
def test_refuses_a_template(client: TestClient, headers: dict[str, str], body: dict[str, str], where: list[str]) -> None:
    answer = client.put("/api/templates/welcome", json=body, headers=headers)

    assert (answer.status_code, [error["loc"] for error in answer.json()["detail"]]) == (422, [["body", *where]])


def test_a_syntax_error_names_its_part_and_line_and_changes_nothing(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    answer = client.put("/api/templates/welcome", json=WELCOME | {"html": "<p>\n{% nope %}</p>"}, headers=headers)

    problem = {"loc": ["body", "html"], "msg": "html, line 2: unexpected tag 'nope'", "type": "template_syntax"}
    assert (answer.status_code, answer.json()) == (422, {"detail": [problem]})
    assert client.get("/api/templates/welcome", headers=headers).json() == welcome


# Previews


def test_previews_a_template(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    answer = client.post("/api/templates/welcome/preview", json={"variables": {"name": "<Ada>"}}, headers=headers)

    assert answer.status_code == 200
    assert answer.json() == {"subject": "Welcome, <Ada>", "text": "Hi <Ada>", "html": "<p>Hi &lt;Ada&gt;</p>"}
    assert not Email.objects.exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\n{{ user.nick }}", ("text, line 2: unknown variable 'user.nick'", "template_variable")),
        ("{% for i in (1..1000000000) %}{% endfor %}", ("text, line 1: a range of more than 10000", "template_limit")),
        ("\n{{ 1 | divided_by: 0 }}", ("text, line 2: divided_by: can't divide by 0", "template_value")),
    ],
)
def test_a_preview_tells_what_is_wrong(client: TestClient, headers: dict[str, str], text: str, problem: tuple[str, str]) -> None:
    client.put("/api/templates/wrong", json={"text": text}, headers=headers)

    answer = client.post("/api/templates/wrong/preview", json={"variables": {"user": {}}}, headers=headers)

    assert answer.status_code == 422
    assert answer.json() == {"detail": [{"loc": ["body", "text"], "msg": problem[0], "type": problem[1]}]}


@pytest.mark.parametrize("variables", ["[1]", '{"a": "\\ud800"}', "[" * 40 + "]" * 40, '{"a": ' + "[" * 40 + "]" * 40 + "}"])
def test_refuses_variables(client: TestClient, headers: dict[str, str], welcome: dict[str, Any], variables: str) -> None:
    content = f'{{"variables": {variables}}}'

    answer = client.post(
        "/api/templates/welcome/preview", content=content, headers=headers | {"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "variables"])


# Who may


def test_who_may_read_may_not_write(client: TestClient, reader: dict[str, str], welcome: dict[str, Any]) -> None:
    preview = client.post("/api/templates/welcome/preview", json={"variables": {"name": "Ada"}}, headers=reader)
    read = [client.get(path, headers=reader).status_code for path in ("/api/templates", "/api/templates/welcome")]
    write = [
        client.put("/api/templates/welcome", json=WELCOME, headers=reader).status_code,
        client.delete("/api/templates/welcome", headers=reader).status_code,
    ]

    assert (preview.status_code, read, write) == (200, [200, 200], [403, 403])


def test_nobody_may(client: TestClient) -> None:
    assert client.get("/api/templates").status_code == 401


# Mails


def test_sends_what_the_template_becomes(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    answer = client.post("/api/emails", json=MAIL | {"variables": {"name": "<Ada>"}}, headers=headers)

    email, template = Email.objects.get(), Template.objects.get()
    message = message_from_bytes(bytes(RawMessage.objects.get().content), policy=policy.default)
    assert answer.status_code == 202
    assert (email.template, email.subject, email.text, email.html) == (
        template,
        "Welcome, <Ada>",
        "Hi <Ada>",
        "<p>Hi &lt;Ada&gt;</p>",
    )
    assert message["Subject"] == "Welcome, <Ada>"


def test_a_mail_stays_as_it_was_accepted(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    later = {"scheduled_at": "2026-12-01T09:00:00Z", "variables": {"name": "Ada"}}
    client.post("/api/emails", json=MAIL | later, headers=headers)

    client.put("/api/templates/welcome", json={"text": "Something else"}, headers=headers)

    email = Email.objects.get()
    assert email.template is not None
    assert (email.text, email.template.version) == ("Hi Ada", 1)


def test_the_mails_own_subject_wins(client: TestClient, headers: dict[str, str]) -> None:
    client.put("/api/templates/welcome", json={"subject": "{{ unknown }}", "text": "Hi"}, headers=headers)

    answer = client.post("/api/emails", json=MAIL | {"subject": "Mine"}, headers=headers)

    assert (answer.status_code, Email.objects.get().subject) == (202, "Mine")


def test_what_a_mail_brings_itself_wins(client: TestClient, headers: dict[str, str]) -> None:
    client.put(
        "/api/templates/welcome", json={"subject": "Theirs", "text": "{{ unknown }}", "html": "<p>Hi</p>"}, headers=headers
    )

    answer = client.post("/api/emails", json=MAIL | {"text": "Mine"}, headers=headers)

    email = Email.objects.get()
    assert (answer.status_code, email.subject, email.text, email.html) == (202, "Theirs", "Mine", "<p>Hi</p>")


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        ({"template": "nope"}, ["template"], "there is no template nope"),
        ({"variables": {}}, ["variables"], "subject, line 1: unknown variable 'name'"),
        ({"variables": {"name": "a\nb"}}, ["template"], "subject: not one line"),
        ({"template": None, "text": "Hi"}, [], "variables are for a template"),
        ({"template": None, "variables": {}}, [], "at least one of text, html and template"),
        ({"template": "a b"}, ["template"], "pattern"),
    ],
)
def test_refuses_a_mail(
    client: TestClient,
    headers: dict[str, str],
    welcome: dict[str, Any],
    change: dict[str, Any],
    where: list[str],
    message: str,
) -> None:
    answer = client.post("/api/emails", json=MAIL | {"variables": {"name": "Ada"}} | change, headers=headers)

    (problem,) = answer.json()["detail"]
    assert (answer.status_code, problem["loc"]) == (422, ["body", *where])
    assert message in problem["msg"]
    assert not Email.objects.exists()


def test_a_batch_mixes_mails_with_and_without_a_template(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    plain = {"from": "shop@example.com", "to": "bob@example.com", "text": "Plain"}
    mails = [MAIL | {"variables": {"name": "Ada"}}, plain, MAIL | {"variables": {"name": "Eve"}}]

    answer = client.post("/api/emails/batch", json={"emails": mails}, headers=headers)

    texts = [Email.objects.get(id=each["id"]).text for each in answer.json()["data"]]
    assert (answer.status_code, texts) == (202, ["Hi Ada", "Plain", "Hi Eve"])


@pytest.mark.parametrize(("change", "where"), [({"template": "nope"}, "template"), ({"variables": {}}, "variables")])
def test_a_batch_names_the_index_and_sends_none(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any], change: dict[str, Any], where: str
) -> None:
    mail = MAIL | {"variables": {"name": "Ada"}}

    answer = client.post("/api/emails/batch", json={"emails": [mail, mail | change]}, headers=headers)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "emails", 1, where])
    assert not Email.objects.exists()


def test_templates_make_no_more_of_a_batch_than_fits(client: TestClient, headers: dict[str, str]) -> None:
    client.put("/api/templates/welcome", json={"text": "{{ a }}" * 1000}, headers=headers)
    mail = MAIL | {"variables": {"a": "a" * 1000}}

    answer = client.post("/api/emails/batch", json={"emails": [mail] * 70}, headers=headers)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "emails", 67, "template"])


def test_the_same_key_and_body_give_the_first_answer_again(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    mail, key = MAIL | {"variables": {"name": "Ada"}}, headers | {"Idempotency-Key": "order-42"}
    first = client.post("/api/emails", json=mail, headers=key)
    client.put("/api/templates/welcome", json={"text": "Something else"}, headers=headers)

    again = client.post("/api/emails", json=mail, headers=key)
    other = client.post("/api/emails", json=mail | {"variables": {"name": "Eve"}}, headers=key)

    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    assert other.json()["code"] == "idempotency_key_reused"


def test_a_template_that_is_gone_does_not_change_the_first_answer(
    client: TestClient, headers: dict[str, str], welcome: dict[str, Any]
) -> None:
    mail, key = MAIL | {"variables": {"name": "Ada"}}, headers | {"Idempotency-Key": "order-42"}
    first = client.post("/api/emails", json=mail, headers=key)
    client.delete("/api/templates/welcome", headers=headers)

    again = client.post("/api/emails", json=mail, headers=key)

    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (202, first.json(), "true")


def test_a_mail_tells_its_template(client: TestClient, headers: dict[str, str], welcome: dict[str, Any]) -> None:
    accepted = client.post("/api/emails", json=MAIL | {"variables": {"name": "Ada"}}, headers=headers).json()

    mail = client.get(f"/api/emails/{accepted['id']}", headers=headers).json()
    listed = client.get("/api/emails", headers=headers).json()["data"]

    assert mail["template"] == {"slug": "welcome", "version": 1}
    assert [each["template"] for each in listed] == [mail["template"]]
