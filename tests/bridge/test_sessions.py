"""Django's sessions and CSRF check in FastAPI."""

import pytest
from django.test import Client as DjangoClient
from starlette.testclient import TestClient

from project.accounts.models import User
from tests.bridge.app import create_app

CSRF_TOKEN = "a" * 32
OUR_ORIGIN = "http://testserver"


@pytest.fixture
def browser(owner: User, shared_test_connection: None) -> TestClient:
    """A browser that is logged in to Django, with Django's CSRF cookie."""
    django = DjangoClient()
    django.force_login(owner)
    return TestClient(create_app(), cookies={"sessionid": django.cookies["sessionid"].value, "csrftoken": CSRF_TOKEN})


def test_returns_the_user_who_is_signed_in_to_django(browser: TestClient) -> None:
    assert browser.get("/me").json() == "owner"


@pytest.mark.parametrize("cookie", ["", "nonsense", "x" * 5000])
def test_ignores_a_cookie_that_is_not_a_session(browser: TestClient, cookie: str) -> None:
    browser.cookies.set("sessionid", cookie)

    assert browser.get("/me").json() is None


def test_runs_no_query_without_a_cookie(shared_test_connection: None, django_assert_num_queries: type) -> None:
    with django_assert_num_queries(0):
        assert TestClient(create_app()).get("/me").json() is None


@pytest.mark.pitfall(19)
def test_a_changed_password_ends_the_session(browser: TestClient, owner: User) -> None:
    owner.set_password("another one")
    owner.save()

    assert browser.get("/me").json() is None


@pytest.mark.pitfall(19)
def test_deactivating_the_user_ends_the_session(browser: TestClient, owner: User) -> None:
    owner.is_active = False
    owner.save()

    assert browser.get("/me").json() is None


@pytest.mark.pitfall(19)
def test_logging_out_ends_the_session(owner: User, shared_test_connection: None) -> None:
    django = DjangoClient()
    django.force_login(owner)
    cookie = django.cookies["sessionid"].value
    django.post("/admin/logout/")

    assert TestClient(create_app(), cookies={"sessionid": cookie}).get("/me").json() is None


@pytest.mark.pitfall(17)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_unsafe_method_needs_a_csrf_token(browser: TestClient, method: str) -> None:
    without_token = browser.request(method, "/me")
    wrong_token = browser.request(method, "/me", headers={"X-CSRFToken": "b" * 32})
    right_token = browser.request(method, "/me", headers={"X-CSRFToken": CSRF_TOKEN})

    assert (without_token.status_code, wrong_token.status_code, right_token.status_code) == (403, 403, 200)
    assert "missing" in without_token.json()


@pytest.mark.pitfall(17)
def test_rejects_a_foreign_origin_even_with_a_csrf_token(browser: TestClient) -> None:
    def post(origin: str) -> int:
        return browser.post("/me", headers={"X-CSRFToken": CSRF_TOKEN, "Origin": origin}).status_code

    assert (post(OUR_ORIGIN), post("http://evil.example"), post("null")) == (200, 403, 403)


@pytest.mark.pitfall(17)
def test_ignores_a_csrf_token_in_the_body(browser: TestClient) -> None:
    response = browser.post("/me", data={"csrfmiddlewaretoken": CSRF_TOKEN})

    assert response.status_code == 403


@pytest.mark.pitfall(17)
def test_over_https_a_request_without_an_origin_needs_a_referer(browser: TestClient) -> None:
    secure = TestClient(create_app(), base_url="https://testserver", cookies=browser.cookies)

    without_referer = secure.post("/me", headers={"X-CSRFToken": CSRF_TOKEN})
    our_referer = secure.post("/me", headers={"X-CSRFToken": CSRF_TOKEN, "Referer": "https://testserver/admin/"})

    assert (without_referer.status_code, our_referer.status_code) == (403, 200)


@pytest.mark.pitfall(18)
def test_a_websockets_cookie_counts_only_with_an_origin(browser: TestClient) -> None:
    with (
        browser.websocket_connect("/me") as without_origin,
        browser.websocket_connect("/me", headers={"Origin": OUR_ORIGIN}) as our_page,
    ):
        assert without_origin.receive_json() is None
        assert our_page.receive_json() == "owner"
