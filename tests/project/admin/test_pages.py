"""Titles of the admin's pages, and the error pages of Django's half."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.test import Client

from project.accounts.models import User

LISTS = {model._meta.label_lower: f"/admin/{model._meta.label_lower.replace('.', '/')}/" for model in admin.site._registry}
TITLES = {
    "emails.email": "Emails",
    "transports.mailboxmessage": "Mailbox",
    "audit.auditevent": "Audit trail",
    "admin.logentry": "Changes in the admin",
    "otp_static.staticdevice": "Recovery codes",
    "api_keys.apikey": "API keys",
    "accounts.user": "Users",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_named_by_what_it_lists(browser: Client, name: str) -> None:
    page = browser.get(LISTS[name]).content.decode()

    title = page.partition("<title>")[2].partition(" | Mailrail</title>")[0]
    assert title == TITLES.get(name, title)
    assert f"<h1>{title}</h1>" in page
    assert not title.startswith("Select")


@pytest.mark.parametrize("path", ["/nothing/", "/admin/nothing/", f"/admin/emails/email/{UUID(int=7)}/html/"])
def test_a_missing_page_has_our_look(browser: Client, path: str) -> None:
    response = browser.get(path)

    assert_error_page(response, 404, "Page not found")


def test_a_page_without_permission_has_our_look(teammate: User) -> None:
    client = Client()
    client.force_login(teammate)

    assert_error_page(client.get("/admin/emails/email/"), 403, "No permission")


def test_an_invalid_request_has_our_look(browser: Client) -> None:
    assert_error_page(browser.get("/admin/emails/email/?owner__regex=("), 400, "Bad request")


def test_a_form_without_a_csrf_token_has_our_look(db: None) -> None:
    assert_error_page(Client(enforce_csrf_checks=True).post("/admin/login/"), 403, "The form was not accepted")


def test_an_internal_error_has_our_look_without_the_database(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("project.web.views.service_status", fail)

    assert_error_page(Client(raise_request_exception=False).get("/"), 500, "Something went wrong")


def assert_error_page(response: Any, status: int, heading: str) -> None:
    """Check the status, the heading and the title, and that the page has a link to the dashboard."""
    page = response.content.decode()
    assert response.status_code == status
    assert f"<h1>{heading}</h1>" in page
    assert f"<title>{heading} | Mailrail</title>" in page
    assert '<a href="/admin/">Dashboard</a>' in page
