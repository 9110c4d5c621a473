"""The suppression list in the admin: search, edit, import and export."""

import asyncio
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import cast

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import Client

from project.accounts.models import User
from project.admin.changelist import KeysetAdmin
from project.audit.models import AuditEvent
from project.emails.mime.email_addresses import normalize_address
from project.suppressions.admin import MAX_SHOWN_ERRORS
from project.suppressions.models import Suppression
from project.suppressions.store import suppress
from tests.project.conftest import NOW, SubmitEmail

LIST = "/admin/suppressions/suppression/"
Addresses = Callable[..., list[str]]


@pytest.fixture
def addresses(browser: Client) -> Addresses:
    """Return a function that gets the email addresses in the list, from top to bottom."""

    def addresses(**query: str) -> list[str]:
        return [row.address for row in browser.get(LIST, query).context["cl"].result_list]

    return addresses


def upload(browser: Client, content: bytes) -> list[str]:
    """Import a file, and return the messages that the page shows."""
    file = BytesIO(content)
    file.name = "list.csv"
    return [str(message) for message in browser.post(f"{LIST}import/", {"file": file}, follow=True).context["messages"]]


def read_stream(response: StreamingHttpResponse) -> str:
    """Return the content of a streaming response."""

    async def collect() -> bytes:
        return b"".join([chunk async for chunk in cast("AsyncIterator[bytes]", response.streaming_content)])

    try:
        return asyncio.run(collect()).decode()
    finally:
        response.close()


def test_finds_an_address_by_its_beginning(addresses: Addresses) -> None:
    for address in ("ada@example.com", "ad@example.com", "adb@example.com", "bob@example.com"):
        suppress(address, now=NOW)

    assert addresses(q="ADA") == ["ada@example.com"]
    assert addresses(q="ad") == ["ad@example.com", "ada@example.com", "adb@example.com"]
    assert len(addresses()) == 4


def test_removes_all_addresses_that_match_the_search(browser: Client, db: None) -> None:
    for address in ("ada@example.com", "adb@example.com", "bob@example.com"):
        suppress(address, now=NOW)
    listed = browser.get(LIST, {"q": "AD"}).content.decode()

    asked = browser.get(f"{LIST}remove/", {"q": "AD"}).content.decode()
    done = browser.post(f"{LIST}remove/?q=AD", follow=True)

    assert f'href="{LIST}remove/?q=AD"' in listed
    assert "Remove 2 suppressions whose address begins with <strong>ad</strong>?" in asked
    assert [str(message) for message in done.context["messages"]] == ["Removed 2 suppressions."]
    assert list(Suppression.objects.values_list("address", flat=True)) == ["bob@example.com"]
    assert AuditEvent.objects.filter(action="suppression removed", object="2 addresses beginning with ad").count() == 1


def test_removes_a_limited_number_of_addresses_in_one_request(browser: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.suppressions.admin.MAX_REMOVED", 3)
    monkeypatch.setattr("project.suppressions.store.REMOVED_PER_TRANSACTION", 2)
    for number in range(5):
        suppress(f"{number}@example.com", now=NOW)

    done = browser.post(f"{LIST}remove/", follow=True)

    assert [str(message) for message in done.context["messages"]] == [
        "Removed 3 suppressions. 2 more match: remove them in the same way."
    ]


def test_removing_all_needs_the_permission_to_delete(teammate: User) -> None:
    teammate.user_permissions.add(Permission.objects.get(codename="view_suppression"))
    client = Client()
    client.force_login(teammate)
    suppress("ada@example.com", now=NOW)

    assert f"{LIST}remove/" not in client.get(LIST).content.decode()
    assert client.post(f"{LIST}remove/").status_code == 403


@pytest.mark.sqlite_only("reads plans of SQLite; tests/servers/test_postgresql_plans.py reads those of PostgreSQL")
def test_search_by_prefix_uses_the_index(browser: Client, db: None) -> None:
    plan = browser.get(LIST, {"q": "ada@"}).context["cl"].queryset[:101].explain()

    assert "suppressions_suppression_1 (address>? AND address<?)" in plan
    assert "TEMP B-TREE" not in plan


def test_ignores_a_requested_sort_order(browser: Client, db: None) -> None:
    plan = browser.get(LIST, {"o": "2"}).context["cl"].queryset[:101].explain()

    assert "TEMP B-TREE" not in plan


def test_the_next_page_starts_after_the_last_address(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)
    for name in "abc":
        suppress(f"{name}@example.com", now=NOW)

    assert addresses() == ["a@example.com", "b@example.com"]
    assert addresses(after="b@example.com") == ["c@example.com"]


def test_normalizes_an_added_address(browser: Client, db: None) -> None:
    browser.post(f"{LIST}add/", {"address": " Ada@EXAMPLE.com", "reason": "by phone"})

    assert list(Suppression.objects.values_list("address", "reason")) == [("ada@example.com", "by phone")]


def test_rejects_an_address_that_is_on_the_list_in_another_case(browser: Client, db: None) -> None:
    suppress("ada@example.com", reason="bounced", now=NOW)

    page = browser.post(f"{LIST}add/", {"address": "ADA@example.com", "reason": ""})

    assert page.context["adminform"].form.errors.keys() == {"address"}
    assert Suppression.objects.get().reason == "bounced"


def test_explains_why_an_address_is_invalid(browser: Client, db: None) -> None:
    page = browser.post(f"{LIST}add/", {"address": "ada", "reason": ""})

    assert (
        "@-sign" in page.context["errors"].as_text()
        if hasattr(page.context["errors"], "as_text")
        else str(page.context["errors"])
    )
    assert not Suppression.objects.exists()


def test_changes_only_the_reason(browser: Client, submit_email: SubmitEmail) -> None:
    email = submit_email()
    suppress("ada@example.com", reason="550", email_id=email.id, now=NOW)

    browser.post(f"{LIST}ada_40example.com/change/", {"address": "other@example.com", "reason": "left us"})

    row = Suppression.objects.get()
    assert (row.address, row.reason, row.email_id, row.created_at) == ("ada@example.com", "left us", email.id, NOW)


def test_links_to_the_email_that_bounced(browser: Client, submit_email: SubmitEmail) -> None:
    email = submit_email()
    suppress("ada@example.com", email_id=email.id, now=NOW)

    assert f'<a href="/admin/emails/email/{email.id}/change/">' in browser.get(LIST).content.decode()


def test_removes_addresses(browser: Client, db: None) -> None:
    for name in "abc":
        suppress(f"{name}@example.com", now=NOW)

    browser.post(f"{LIST}a_40example.com/delete/", {"post": "yes"})
    browser.post(LIST, {"action": "delete_selected", "_selected_action": ["b@example.com"], "post": "yes"})

    assert [row.address for row in Suppression.objects.all()] == ["c@example.com"]


def test_imports_a_file_and_reports_skipped_lines(browser: Client, db: None) -> None:
    shown = upload(browser, b"address,reason\nada@example.com,bounced\nnot-an-address\n")

    assert [row.address for row in Suppression.objects.all()] == ["ada@example.com"]
    assert shown[0] == "Imported 1 address."
    assert shown[1].startswith("Skipped line 3: ")


def test_no_transaction_is_open_while_a_file_is_parsed(
    browser: Client, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_transaction = []

    def record_transaction(address: str) -> str:
        in_transaction.append(connection.in_atomic_block)
        return normalize_address(address)

    monkeypatch.setattr("project.suppressions.csv.normalize_address", record_transaction)
    upload(browser, b"ada@example.com\nnot-an-address\n")

    assert in_transaction == [False, False]


def test_an_import_is_logged_with_its_user(browser: Client, db: None) -> None:
    upload(browser, b"ada@example.com\nbob@example.com\nnot-an-address\n")

    entry = LogEntry.objects.select_related("user", "content_type").get()
    assert (entry.user.get_username(), entry.content_type and entry.content_type.model) == ("owner", "suppression")
    assert (entry.object_repr, entry.get_change_message()) == ("CSV file", "Imported 2 addresses.")
    assert "Imported 2 addresses." in browser.get("/admin/admin/logentry/").content.decode()


def test_an_import_without_a_valid_line_is_not_logged(browser: Client, db: None) -> None:
    upload(browser, b"not-an-address\n")

    assert not LogEntry.objects.exists()


def test_counts_invalid_lines_beyond_the_first(browser: Client, db: None) -> None:
    shown = upload(browser, b"not-an-address\n" * (MAX_SHOWN_ERRORS + 5))

    assert len(shown) == 1 + MAX_SHOWN_ERRORS + 1
    assert shown[-1] == "Skipped 5 more lines."


def test_import_requires_a_file(browser: Client, db: None) -> None:
    assert 'type="file"' in browser.get(f"{LIST}import/").content.decode()
    assert "This field is required." in browser.post(f"{LIST}import/").content.decode()


def test_exports_the_list(browser: Client, db: None) -> None:
    suppress("ada@example.com", reason="bounced", now=NOW)

    response = cast("StreamingHttpResponse", browser.get(f"{LIST}export/"))

    assert response["Content-Disposition"] == 'attachment; filename="suppressions.csv"'
    assert read_stream(response).splitlines() == ["address,reason,created_at", f"ada@example.com,bounced,{NOW.isoformat()}"]


def test_the_view_permission_allows_export_but_not_import(teammate: User) -> None:
    client = Client()
    client.force_login(teammate)

    forbidden = client.get(f"{LIST}export/")
    teammate.user_permissions.add(Permission.objects.get(codename="view_suppression"))

    assert forbidden.status_code == 403
    assert client.get(f"{LIST}import/").status_code == 403
    assert read_stream(cast("StreamingHttpResponse", client.get(f"{LIST}export/"))) == "address,reason,created_at\r\n"
