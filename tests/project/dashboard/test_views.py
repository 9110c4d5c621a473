"""The JSON view of the dashboard, and the permission that it requires."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from project.accounts.models import User
from project.delivery.models import RelayOutage
from project.events.log import email_queued
from project.events.models import Event
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
