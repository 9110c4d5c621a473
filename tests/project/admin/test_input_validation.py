"""Malformed input to the admin: the admin rejects or reports it, and never responds with a server error."""

import time

import pytest
from django.contrib.admin.sites import site
from django.test import Client

from project.accounts.models import User
from project.api_keys.keys import create_key
from project.mail_templates.liquid import CompiledTemplate, EmailParts
from project.mail_templates.store import put_template
from project.suppressions.store import suppress
from tests.project.conftest import NOW, SubmitEmail

LISTS = [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in site._registry]
EMAILS, PREVIEW = "/admin/emails/email/", "/admin/mail_templates/template/preview/"
HUGE = "9" * 30
NUL = "\x00"


@pytest.fixture(autouse=True)
def _rows(submit_email: SubmitEmail) -> None:
    """Create rows for the lists of the admin, because queries on empty tables would hide errors."""
    submit_email("Hi")
    create_key("shop", scopes=["emails:send"])
    suppress("ada@example.com", now=NOW)
    put_template("welcome", CompiledTemplate(EmailParts(text="Hi")), now=NOW)


@pytest.fixture
def browser(owner: User) -> Client:
    """Return a client that is logged in as the owner and that returns a 500 instead of raising the exception."""
    browser = Client(raise_request_exception=False)
    browser.force_login(owner)
    return browser


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("selected", ["nope", "", HUGE, "9223372036854775808", f"a{NUL}b"])
def test_a_selection_with_an_invalid_primary_key_causes_no_error(browser: Client, path: str, selected: str) -> None:
    actions = [{"action": name, "_selected_action": [selected]} for name in ("delete_selected", "cancel", "revoke")]

    responses = [browser.post(path, action | extra) for action in actions for extra in ({"index": "0"}, {})]

    assert {response.status_code for response in responses} <= {200, 302, 400}


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        {"pk__in": HUGE},
        {"id__gt": HUGE},
        {"created_at__year": "0"},
        {"subject__regex": "("},
        {"status": NUL},
        {"q": NUL},
        {"q": "\ud7ff"},
        {"q": "\U0010ffff"},
        {"p": HUGE},
        {"p": "-1"},
        {"after": HUGE},
        {"after": NUL},
        {"id__exact": HUGE},
        {"_to_field": "secret_hash"},
    ],
)
def test_a_malformed_query_is_rejected_or_finds_nothing(browser: Client, path: str, query: dict[str, str]) -> None:
    assert browser.get(path, query).status_code in {200, 302, 400}


@pytest.mark.parametrize("day", ["9999-12-31", "9999-12-30", "0001-01-01"])
def test_the_first_and_last_possible_days_have_no_emails(browser: Client, day: str) -> None:
    page = browser.get(EMAILS, {"day": day})

    assert (page.status_code, list(page.context["cl"].result_list), list(page.context["messages"])) == (200, [], [])


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("object_id", ["nope", HUGE, "%00", "a%00b"])
def test_the_pages_of_an_invalid_primary_key_do_not_exist(browser: Client, path: str, object_id: str) -> None:
    pages = ["change", "delete", "history", "html", "source", "retry", "revoke", "rotate", "password"]

    responses = [request(f"{path}{object_id}/{page}/") for page in pages for request in (browser.get, browser.post)]

    assert {response.status_code for response in responses} <= {302, 400, 403, 404, 405}


@pytest.mark.parametrize("opening", ['{"a":', '{"a": 1, "b": ['])
def test_reports_variables_that_are_nested_too_deeply(browser: Client, opening: str) -> None:
    closing = "".join({"{": "}", "[": "]"}.get(character, "") for character in reversed(opening))

    response = browser.post(PREVIEW, {"text": "Hi", "variables": opening * 2000 + "1" + closing * 2000})

    assert (response.status_code, "levels deep" in response.content.decode()) == (200, True)


def test_renders_a_preview_without_variables(browser: Client) -> None:
    assert "Hi</pre>" in browser.post(PREVIEW, {"text": "Hi"}).content.decode()


@pytest.mark.parametrize("version", ["abc", "", HUGE, "-1", "4711", NUL])
def test_returns_404_for_the_preview_of_an_unknown_version(browser: Client, version: str) -> None:
    assert browser.post(PREVIEW, {"text": "Hi", "variables": "{}", "version": version}).status_code == 404


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", EMAILS])
def test_rejects_a_cookie_with_a_nul_character(path: str) -> None:
    anonymous = Client(raise_request_exception=False)
    anonymous.cookies["sessionid"] = f"a session{NUL}key"

    assert anonymous.get(path).status_code == 400


@pytest.mark.parametrize("username", ["x" * 256, "x" * 5000, f"a{NUL}b"])
def test_rejects_a_login_with_an_impossible_username(username: str) -> None:
    response = Client(raise_request_exception=False).post("/admin/login/", {"username": username, "password": "guess"})

    assert response.status_code == 200


MISLEADING = ["ab\u202ec", "ab\u2066c", "ab\x07c"]


@pytest.fixture
def recently_authenticated(owner: User) -> Client:
    """Return a client whose user has just entered the password."""
    client = Client()
    client.force_login(owner)
    session = client.session
    session["reauthenticated_at"] = int(time.time())
    session.save()
    return client


@pytest.mark.parametrize("text", MISLEADING)
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("api_keys/apikey", "name"),
        ("suppressions/suppression", "reason"),
        ("auth/group", "name"),
        ("otp_totp/totpdevice", "name"),
        ("accounts/user", "username"),
    ],
)
def test_a_name_that_could_look_like_another_is_rejected(
    recently_authenticated: Client, path: str, field: str, text: str
) -> None:
    response = recently_authenticated.post(f"/admin/{path}/add/", {field: text})

    assert field in response.context["adminform"].form.errors


@pytest.mark.parametrize("text", MISLEADING)
def test_the_name_of_a_person_that_could_look_like_another_is_rejected(
    recently_authenticated: Client, owner: User, text: str
) -> None:
    response = recently_authenticated.post(f"/admin/accounts/user/{owner.pk}/change/", {"first_name": text, "last_name": text})

    assert {"first_name", "last_name"} <= response.context["adminform"].form.errors.keys()
