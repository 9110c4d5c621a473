"""The JSON view of the dashboard, and the permission that it requires."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from project.accounts.models import User
from project.delivery.models import RelayOutage
from project.events.log import email_queued, record_status_events
from project.events.models import Event
from project.statistics.email_counts import count_events
from tests.project.conftest import SubmitEmail
from tests.project.dashboard.conftest import NOW

STATS = "/admin/dashboard/stats"


def test_returns_stats_with_the_latest_events_and_a_cursor(owner: User, submit_email: SubmitEmail) -> None:
    client, event = Client(), Event.objects.get(email=submit_email("Hello Ada"))
    client.force_login(owner)

    stats = client.get(STATS).json()

    assert (stats["cursor"], [each["id"] for each in stats["events"]]) == (event.pk, [event.pk])
    assert stats["queue"]["depths"]["queued"] == 1
    assert stats["transport"] == {"name": "Embedded mailbox", "is_paused": False, "outages": []}


@pytest.mark.parametrize("resolution", ["minute", "hour", "day"])
def test_the_chart_shows_an_email_at_once(browser: Client, submit_email: SubmitEmail, resolution: str) -> None:
    submit_email("Hello Ada")

    stats = browser.get(STATS, {"resolution": resolution}).json()

    waiting = [bucket["waiting"] for bucket in stats["buckets"]]
    assert (sum(waiting), sum(waiting[-2:])) == (1, 1)
    assert stats["uncounted_events"] == 0


def test_counts_a_limited_number_of_events_in_a_request(
    browser: Client, submit_email: SubmitEmail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.dashboard.stats.MAX_COUNTED_EVENTS", 2)
    for number in range(3):
        submit_email(f"email {number}")

    responses = [browser.get(STATS).json() for _ in range(3)]

    assert [response["uncounted_events"] for response in responses] == [1, 0, 0]
    assert [sum(bucket["waiting"] for bucket in response["buckets"]) for response in responses] == [2, 3, 3]


def test_shows_the_stored_numbers_while_the_database_is_busy(
    browser: Client, submit_email: SubmitEmail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_arguments: object) -> int:
        raise OperationalError("database is locked")

    submit_email("counted")
    browser.get(STATS)
    submit_email("not counted")
    monkeypatch.setattr("project.dashboard.stats.count_events", fail)

    stats = browser.get(STATS).json()

    assert (stats["uncounted_events"], sum(bucket["waiting"] for bucket in stats["buckets"])) == (1, 1)
    assert "could not be counted" in caplog.text


@pytest.mark.parametrize("resolution", ["minute", "hour", "day"])
def test_a_cold_dashboard_runs_few_statements_whatever_number_of_emails_is_stored(
    browser: Client, submit_email: SubmitEmail, resolution: str
) -> None:
    """A cold dashboard has no cached numbers, and events that are not counted yet."""

    def statements() -> int:
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            browser.get(STATS, {"resolution": resolution})
        return len(queries)

    fail_with(submit_email, "550 First")
    browser.get(STATS)
    numbers = [statements()]
    for number in range(30):
        fail_with(submit_email, f"550 Reason {number}")
    while count_events(now=timezone.now()):
        pass
    numbers.append(statements())
    submit_email("not counted yet")
    while_counting = statements()

    assert numbers[0] == numbers[1] <= 16
    assert while_counting <= numbers[0] + 10


def fail_with(submit_email: SubmitEmail, reason: str) -> None:
    """Submit an email that has failed."""
    email = submit_email(reason)
    email.status, email.reason = "failed", reason
    email.save()
    record_status_events([email], now=timezone.now())


def test_responds_404_to_an_unknown_resolution(owner: User) -> None:
    client = Client()
    client.force_login(owner)

    assert client.get(f"{STATS}?resolution=year").status_code == 404


def test_requires_the_permission_to_view_emails(teammate: User) -> None:
    client = Client()
    client.force_login(teammate)

    assert client.get(STATS).status_code == 403
    assert 'id="dashboard"' not in client.get("/admin/").content.decode()
    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))
    assert client.get(STATS).status_code == 200
    assert 'id="dashboard"' in client.get("/admin/").content.decode()


@pytest.mark.parametrize("path", [STATS, "/play", "/admin/emails/email/progress/"])
def test_redirects_anonymous_users_to_the_login(db: None, path: str) -> None:
    response = Client().get(path)

    assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={path}")


def test_reports_a_relay_outage(owner: User) -> None:
    RelayOutage.objects.create(
        worker="e", started_at=NOW, next_probe_at=NOW + timedelta(seconds=40), failures=3, error="Connection refused"
    )
    client = Client()
    client.force_login(owner)

    (outage,) = client.get(STATS).json()["transport"]["outages"]

    assert (outage["failures"], outage["error"]) == (3, "Connection refused")


def test_try_now_lets_paused_workers_probe_the_relay(browser: Client, django_capture_on_commit_callbacks: Any) -> None:
    later = timezone.now() + timedelta(minutes=5)
    RelayOutage.objects.create(worker="e", started_at=NOW, next_probe_at=later, failures=3, error="Connection refused")
    woken: list[bool] = []

    with email_queued.subscribed(lambda: woken.append(True)), django_capture_on_commit_callbacks(execute=True):
        response = browser.post("/admin/dashboard/probe-relay")

    assert (response.json(), woken) == ({"probing": 1}, [True])
    assert RelayOutage.objects.get().next_probe_at <= timezone.now()


def test_try_now_requires_the_permission_to_change_emails(teammate: User) -> None:
    client = Client()
    client.force_login(teammate)
    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))

    assert client.post("/admin/dashboard/probe-relay").status_code == 403
    assert client.get("/admin/dashboard/probe-relay").status_code == 405


def test_the_list_of_outages_has_the_action_try_now(browser: Client) -> None:
    later = timezone.now() + timedelta(minutes=5)
    for relay in ("first", "second"):
        RelayOutage.objects.create(
            worker="e", relay=relay, started_at=NOW, next_probe_at=later, failures=3, error="Connection refused"
        )
    selected = RelayOutage.objects.get(relay="second")

    browser.post("/admin/delivery/relayoutage/", {"action": "try_now", "_selected_action": [selected.pk]})

    assert RelayOutage.objects.get(relay="first").next_probe_at == later
    assert RelayOutage.objects.get(relay="second").next_probe_at <= timezone.now()
