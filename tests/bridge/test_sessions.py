"""Django's sessions and CSRF check, in FastAPI."""

import pytest
from django.test import Client as DjangoClient
from starlette.testclient import TestClient

from project.accounts.models import User
from tests.bridge.app import create_app

TOKEN = "a" * 32
OURS = "http://testserver"


@pytest.fixture
def browser(owner: User, lent: None) -> TestClient:
    """A browser that signed in at Django, with Django's CSRF cookie."""
    django = DjangoClient()
    django.force_login(owner)
    return TestClient(create_app(), cookies={"sessionid": django.cookies["sessionid"].value, "csrftoken": TOKEN})


def test_knows_who_signed_in_at_django(browser: TestClient) -> None:
    assert browser.get("/who").json() == "owner"


@pytest.mark.parametrize("cookie", ["", "nonsense", "x" * 5000])
def test_a_cookie_that_is_no_session_is_nobody(browser: TestClient, cookie: str) -> None:
    browser.cookies.set("sessionid", cookie)

    assert browser.get("/who").json() is None


def test_no_cookie_asks_no_database(lent: None, django_assert_num_queries: type) -> None:
    with django_assert_num_queries(0):
        assert TestClient(create_app()).get("/who").json() is None


@pytest.mark.pitfall(19)
def test_a_changed_password_ends_the_session(browser: TestClient, owner: User) -> None:
    owner.set_password("another one")
    owner.save()

    assert browser.get("/who").json() is None


@pytest.mark.pitfall(19)
def test_a_deactivated_user_is_nobody(browser: TestClient, owner: User) -> None:
    owner.is_active = False
    owner.save()

    assert browser.get("/who").json() is None


@pytest.mark.pitfall(19)
def test_after_logout_the_old_cookie_is_nobodys(owner: User, lent: None) -> None:
    django = DjangoClient()
    django.force_login(owner)
    cookie = django.cookies["sessionid"].value
    django.post("/admin/logout/")

    assert TestClient(create_app(), cookies={"sessionid": cookie}).get("/who").json() is None


@pytest.mark.pitfall(17)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_unsafe_method_needs_djangos_csrf_token(browser: TestClient, method: str) -> None:
    without = browser.request(method, "/who")
    wrong = browser.request(method, "/who", headers={"X-CSRFToken": "b" * 32})
    right = browser.request(method, "/who", headers={"X-CSRFToken": TOKEN})

    assert (without.status_code, wrong.status_code, right.status_code) == (403, 403, 200)
    assert "missing" in without.json()


@pytest.mark.pitfall(17)
def test_a_foreign_page_cannot_use_the_session_even_with_a_token(browser: TestClient) -> None:
    def post(origin: str) -> int:
        return browser.post("/who", headers={"X-CSRFToken": TOKEN, "Origin": origin}).status_code

    assert (post(OURS), post("http://evil.example"), post("null")) == (200, 403, 403)


@pytest.mark.pitfall(17)
def test_a_form_in_the_body_is_no_proof(browser: TestClient) -> None:
    answer = browser.post("/who", data={"csrfmiddlewaretoken": TOKEN})

    assert answer.status_code == 403


@pytest.mark.pitfall(17)
def test_over_https_a_referer_is_asked_for_where_there_is_no_origin(browser: TestClient) -> None:
    secure = TestClient(create_app(), base_url="https://testserver", cookies=browser.cookies)

    without = secure.post("/who", headers={"X-CSRFToken": TOKEN})
    ours = secure.post("/who", headers={"X-CSRFToken": TOKEN, "Referer": "https://testserver/admin/"})

    assert (without.status_code, ours.status_code) == (403, 200)


@pytest.mark.pitfall(18)
def test_a_sockets_cookie_counts_only_beside_an_origin(browser: TestClient) -> None:
    with browser.websocket_connect("/who") as no_browser, browser.websocket_connect("/who", headers={"Origin": OURS}) as page:
        assert no_browser.receive_json() is None
        assert page.receive_json() == "owner"
