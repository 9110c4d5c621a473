"""What no page of the back office ever sends: it is refused or told, and no page breaks."""

import pytest
from axes.models import AccessAttempt
from django.contrib.admin.sites import site
from django.test import Client

from project.accounts.models import User
from project.api_keys.keys import create_key
from project.mail_templates.liquid import CompiledTemplate, EmailParts
from project.mail_templates.store import put_template
from project.suppressions.store import suppress
from tests.project.conftest import NOW, Accept

LISTS = [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in site._registry]
EMAILS, PREVIEW = "/admin/emails/email/", "/admin/mail_templates/template/preview/"
HUGE = "9" * 30
NUL = "\x00"


@pytest.fixture(autouse=True)
def _rows(accept: Accept) -> None:
    """Something on each list: what is asked of no rows breaks nothing."""
    accept("Hi")
    create_key("shop", scopes=["emails:send"])
    suppress("ada@example.com", now=NOW)
    put_template("welcome", CompiledTemplate(EmailParts(text="Hi")), now=NOW)


@pytest.fixture
def browser(owner: User) -> Client:
    """Where the owner is signed in, and sees what a failure would show."""
    browser = Client(raise_request_exception=False)
    browser.force_login(owner)
    return browser


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("selected", ["nope", "", HUGE, "9223372036854775808", f"a{NUL}b"])
def test_a_selection_of_what_is_no_row_does_nothing(browser: Client, path: str, selected: str) -> None:
    actions = [{"action": name, "_selected_action": [selected]} for name in ("delete_selected", "cancel", "revoke")]

    answers = [browser.post(path, action | more) for action in actions for more in ({"index": "0"}, {})]

    assert {answer.status_code for answer in answers} <= {200, 302, 400}


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        {"pk__in": HUGE},
        {"id__gt": HUGE},
        {"at__year": "0"},
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
def test_a_query_that_means_nothing_is_refused_or_finds_nothing(browser: Client, path: str, query: dict[str, str]) -> None:
    assert browser.get(path, query).status_code in {200, 302, 400}


@pytest.mark.parametrize("day", ["9999-12-31", "9999-12-30", "0001-01-01"])
def test_a_day_at_the_ends_of_time_has_no_mail(browser: Client, day: str) -> None:
    page = browser.get(EMAILS, {"day": day})

    assert (page.status_code, list(page.context["cl"].result_list), list(page.context["messages"])) == (200, [], [])


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("object_id", ["nope", HUGE, "%00", "a%00b"])
def test_a_page_of_what_is_no_row_is_not_found(browser: Client, path: str, object_id: str) -> None:
    pages = ["change", "delete", "history", "html", "source", "retry", "revoke", "rotate", "password"]

    answers = [ask(f"{path}{object_id}/{page}/") for page in pages for ask in (browser.get, browser.post)]

    assert {answer.status_code for answer in answers} <= {302, 400, 403, 404, 405}


@pytest.mark.parametrize("opening", ['{"a":', '{"a": 1, "b": ['])
def test_variables_that_are_too_deep_are_told(browser: Client, opening: str) -> None:
    closing = "".join({"{": "}", "[": "]"}.get(each, "") for each in reversed(opening))

    answer = browser.post(PREVIEW, {"text": "Hi", "variables": opening * 2000 + "1" + closing * 2000})

    assert (answer.status_code, "deep in each other" in answer.content.decode()) == (200, True)


def test_a_preview_without_variables_has_none(browser: Client) -> None:
    assert "Hi</pre>" in browser.post(PREVIEW, {"text": "Hi"}).content.decode()


@pytest.mark.parametrize("version", ["abc", "", HUGE, "-1", "4711", NUL])
def test_a_preview_of_a_version_that_there_is_not_is_not_found(browser: Client, version: str) -> None:
    assert browser.post(PREVIEW, {"text": "Hi", "variables": "{}", "version": version}).status_code == 404


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", EMAILS])
def test_a_cookie_with_nul_is_refused(path: str) -> None:
    stranger = Client(raise_request_exception=False)
    stranger.cookies["sessionid"] = f"a session{NUL}of nobody"

    assert stranger.get(path).status_code == 400


@pytest.mark.parametrize("username", ["x" * 256, "x" * 5000, f"a{NUL}b"])
def test_a_login_by_what_is_no_name_fails_and_is_counted_under_a_name_that_fits(username: str) -> None:
    answer = Client(raise_request_exception=False).post("/admin/login/", {"username": username, "password": "guess"})

    assert answer.status_code == 200
    assert all(len(attempt.username or "") <= 150 for attempt in AccessAttempt.objects.all())
