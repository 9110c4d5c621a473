"""Sessions: their limits, the list, and logging out elsewhere."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from starlette.testclient import TestClient

from project.accounts import sessions
from project.accounts.models import User, UserSession
from project.accounts.session_store import SessionStore
from project.accounts.user_agents import describe_user_agent
from project.audit.models import AuditAction, AuditEvent
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import bearer

SESSIONS, DASHBOARD = "/admin/sessions/", "/admin/"
HOME, OFFICE = "198.51.100.7", "198.51.100.8"
FETCH = {"Sec-Fetch-Mode": "cors"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.fixture(autouse=True)
def _record_every_activity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sessions, "RECORD_INTERVAL_SECONDS", 0.0)
    yield
    sessions._recorded_at.clear()


def logged_in(user: User, ip_address: str = HOME) -> Client:
    """Return a browser that is logged in with the login form."""
    browser = Client(REMOTE_ADDR=ip_address, HTTP_USER_AGENT=FIREFOX)
    browser.post("/admin/login/", {"username": user.username, "password": PASSWORD})
    return browser


def expires_in() -> timedelta:
    """Return when the only session ends."""
    return Session.objects.get().expire_date - timezone.now()


def age(**ages: timedelta) -> None:
    """Make the login, or the last activity, of the only session older."""
    session = Session.objects.get()
    data = session.get_decoded()
    if "login" in ages:
        data["started_at"] -= int(ages["login"].total_seconds())
    expiry = session.expire_date - ages.get("activity", timedelta())
    Session.objects.update(session_data=Session.objects.encode(data), expire_date=expiry)


def is_logged_in(browser: Client, **headers: Any) -> bool:
    """Return whether the browser can open the dashboard."""
    return browser.get(DASHBOARD, headers=headers).status_code == 200


def api_status(client: TestClient, browser: Client) -> int:
    """Return the status of an API call with the browser's session."""
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    return client.get("/api/me", headers={"Cookie": cookie}).status_code


# Limits


def test_ignores_a_cookie_with_a_character_that_postgresql_cannot_look_up() -> None:
    assert SessionStore("a session\x00key").session_key is None


def test_a_session_ends_after_half_an_hour_without_activity(owner: User, client: TestClient) -> None:
    browser = logged_in(owner)
    age(activity=timedelta(minutes=29))
    assert is_logged_in(browser)
    age(activity=timedelta(minutes=31))

    assert api_status(client, browser) == 401
    assert not is_logged_in(browser)


def test_a_session_ends_twelve_hours_after_the_login_in_spite_of_activity(owner: User, client: TestClient) -> None:
    browser = logged_in(owner)
    age(login=timedelta(hours=11, minutes=50))
    assert is_logged_in(browser)
    assert timedelta(minutes=9) < expires_in() <= timedelta(minutes=10)
    age(login=timedelta(minutes=11), activity=timedelta(minutes=11))

    assert api_status(client, browser) == 401
    assert not is_logged_in(browser)


def test_changing_the_session_extends_no_limit(owner: User) -> None:
    browser = logged_in(owner)
    age(login=timedelta(hours=11, minutes=50))
    session = browser.session
    session["theme"] = "dark"
    session.save()

    assert expires_in() <= timedelta(minutes=10)
    assert session.get_expiry_age() <= 600


def test_a_session_of_an_earlier_version_gets_the_limits_with_its_next_use(owner: User, client: TestClient) -> None:
    browser = logged_in(owner)
    session = browser.session
    del session["started_at"]
    session.save()
    Session.objects.update(expire_date=timezone.now() + timedelta(days=14))
    UserSession.objects.update(created_at=timezone.now() - timedelta(hours=11, minutes=50))

    assert api_status(client, browser) == 200
    assert expires_in() <= timedelta(minutes=10)
    assert is_logged_in(browser)
    assert browser.session["started_at"] > 0


def test_the_limits_can_be_configured(owner: User, settings: Settings) -> None:
    settings.SESSION_MAX_AGE, settings.SESSION_IDLE_TIMEOUT = timedelta(days=2), timedelta(0)

    logged_in(owner)

    assert expires_in() > timedelta(days=1, hours=23)


@pytest.mark.parametrize(
    ("path", "headers", "is_activity"),
    [
        (DASHBOARD, {}, True),
        (DASHBOARD, {"Sec-Fetch-Mode": "navigate"}, True),
        (DASHBOARD, FETCH, False),
        ("/admin/dashboard/stats", {}, False),
    ],
)
def test_polling_is_no_activity(owner: User, path: str, headers: dict[str, str], is_activity: bool) -> None:
    browser = logged_in(owner)
    age(activity=timedelta(minutes=20))

    browser.get(path, headers=headers)

    assert (expires_in() > timedelta(minutes=11)) == is_activity


@pytest.mark.parametrize(("headers", "is_activity"), [({}, True), (FETCH, False)])
def test_a_call_of_the_api_is_activity_unless_a_page_polls(
    owner: User, client: TestClient, headers: dict[str, str], is_activity: bool
) -> None:
    browser = logged_in(owner)
    age(activity=timedelta(minutes=20))

    client.get("/api/me", headers={"Cookie": f"sessionid={browser.cookies['sessionid'].value}", **headers})

    assert (expires_in() > timedelta(minutes=11)) == is_activity


def test_activity_is_recorded_once_a_minute(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "RECORD_INTERVAL_SECONDS", 60.0)
    browser = logged_in(owner)

    with patch.object(sessions, "write_activity") as write:
        for _ in range(3):
            assert is_logged_in(browser)

    assert write.call_count == 0  # the login was recorded


# The list


def test_lists_the_sessions_of_the_user(owner: User, teammate: User) -> None:
    browser = logged_in(owner)
    logged_in(owner, OFFICE)
    logged_in(teammate, "192.0.2.1")

    page = browser.get(SESSIONS).content.decode()

    assert page.count("Firefox on Linux</strong>") == 2
    assert (HOME in page, OFFICE in page, "192.0.2.1" in page) == (True, True, False)
    assert page.count("This browser") == 1


def test_logs_one_session_out(owner: User, client: TestClient) -> None:
    browser, other, third = logged_in(owner), logged_in(owner, OFFICE), logged_in(owner, OFFICE)
    token = client.post("/api/token", data={"username": "owner", "password": PASSWORD}).json()["access_token"]
    row = UserSession.objects.get(session_key=other.session.session_key)

    browser.post(SESSIONS, {"session": row.pk})

    assert [is_logged_in(each) for each in (browser, other, third)] == [True, False, True]
    assert client.get("/api/me", headers=bearer(token)).status_code == 401
    event = AuditEvent.objects.get(action=AuditAction.SESSIONS_ENDED)
    assert (event.object, event.actor, event.ip_address) == ("owner", "owner", HOME)


def test_logs_all_other_sessions_out(owner: User, client: TestClient) -> None:
    browser, other = logged_in(owner), logged_in(owner, OFFICE)
    unlisted = Client()
    unlisted.force_login(owner)
    UserSession.objects.exclude(session_key=other.session.session_key).delete()
    token = client.post("/api/token", data={"username": "owner", "password": PASSWORD}).json()["access_token"]

    browser.post(SESSIONS, {"others": "yes"})

    assert [is_logged_in(each) for each in (browser, other, unlisted)] == [True, False, False]
    assert client.get("/api/me", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("session", ["x", "", "²", "9" * 30, "-1", "4711"])
def test_ignores_an_unknown_session(owner: User, session: str) -> None:
    browser = logged_in(owner)

    page = browser.post(SESSIONS, {"session": session}, follow=True).content.decode()

    assert "has already ended" in page


def test_cannot_end_the_session_of_another_user(owner: User, teammate: User) -> None:
    other = logged_in(teammate)

    logged_in(owner).post(SESSIONS, {"session": UserSession.objects.get(user=teammate).pk})

    assert other.get(SESSIONS).status_code == 200


def test_the_list_requires_a_login(db: None) -> None:
    assert Client().get(SESSIONS).headers["Location"] == f"/admin/login/?next={SESSIONS}"


@pytest.mark.parametrize(
    ("user_agent", "description"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/120.0 Safari/537.36 Edg/120.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.0 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) CriOS/120.0 Mobile Safari/604.1", "Chrome on iPhone"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.0", "curl"),
        ("", "Unknown browser"),
    ],
)
def test_describes_a_browser(user_agent: str, description: str) -> None:
    assert describe_user_agent(user_agent) == description
