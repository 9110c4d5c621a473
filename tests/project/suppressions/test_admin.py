"""The suppression list in the back office."""

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
from project.emails.mime.email_addresses import normalize_address
from project.suppressions.admin import MAX_SHOWN_ERRORS
from project.suppressions.models import Suppression
from project.suppressions.store import suppress
from tests.project.conftest import NOW, Accept

LIST = "/admin/suppressions/suppression/"
Addresses = Callable[..., list[str]]


@pytest.fixture
def addresses(browser: Client) -> Addresses:
    """What a list shows, from top to bottom."""

    def addresses(**query: str) -> list[str]:
        return [row.address for row in browser.get(LIST, query).context["cl"].result_list]

    return addresses


def upload(browser: Client, content: bytes) -> list[str]:
    """Import a file. Gives what is told."""
    file = BytesIO(content)
    file.name = "list.csv"
    return [str(message) for message in browser.post(f"{LIST}import/", {"file": file}, follow=True).context["messages"]]


def downloaded(answer: StreamingHttpResponse) -> str:
    """What comes of an answer that comes in pieces."""

    async def collected() -> bytes:
        return b"".join([chunk async for chunk in cast("AsyncIterator[bytes]", answer.streaming_content)])

    try:
        return asyncio.run(collected()).decode()
    finally:
        answer.close()


def test_finds_an_address_by_its_beginning(addresses: Addresses) -> None:
    for address in ("ada@example.com", "ad@example.com", "adb@example.com", "bob@example.com"):
        suppress(address, now=NOW)

    assert addresses(q="ADA") == ["ada@example.com"]
    assert addresses(q="ad") == ["ad@example.com", "ada@example.com", "adb@example.com"]
    assert len(addresses()) == 4


def test_looks_for_a_beginning_along_the_index(browser: Client, db: None) -> None:
    plan = browser.get(LIST, {"q": "ada@"}).context["cl"].queryset[:101].explain()

    assert "suppressions_suppression_1 (address>? AND address<?)" in plan
    assert "TEMP B-TREE" not in plan


def test_is_in_no_other_order(browser: Client, db: None) -> None:
    plan = browser.get(LIST, {"o": "2"}).context["cl"].queryset[:101].explain()

    assert "TEMP B-TREE" not in plan


def test_goes_on_after_the_last_address_of_a_page(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)
    for name in "abc":
        suppress(f"{name}@example.com", now=NOW)

    assert addresses() == ["a@example.com", "b@example.com"]
    assert addresses(after="b@example.com") == ["c@example.com"]


def test_adds_an_address_in_its_normal_form(browser: Client, db: None) -> None:
    browser.post(f"{LIST}add/", {"address": " Ada@EXAMPLE.com", "reason": "asked by phone"})

    assert list(Suppression.objects.values_list("address", "reason")) == [("ada@example.com", "asked by phone")]


def test_refuses_an_address_that_is_there_in_any_case(browser: Client, db: None) -> None:
    suppress("ada@example.com", reason="bounced", now=NOW)

    page = browser.post(f"{LIST}add/", {"address": "ADA@example.com", "reason": ""})

    assert page.context["adminform"].form.errors.keys() == {"address"}
    assert Suppression.objects.get().reason == "bounced"


def test_says_why_something_is_no_address(browser: Client, db: None) -> None:
    page = browser.post(f"{LIST}add/", {"address": "ada", "reason": ""})

    assert (
        "@-sign" in page.context["errors"].as_text()
        if hasattr(page.context["errors"], "as_text")
        else str(page.context["errors"])
    )
    assert not Suppression.objects.exists()


def test_changes_the_reason_and_nothing_else(browser: Client, accept: Accept) -> None:
    email = accept()
    suppress("ada@example.com", reason="550", email_id=email.id, now=NOW)

    browser.post(f"{LIST}ada_40example.com/change/", {"address": "other@example.com", "reason": "left us"})

    row = Suppression.objects.get()
    assert (row.address, row.reason, row.email_id, row.created_at) == ("ada@example.com", "left us", email.id, NOW)


def test_leads_to_the_mail_that_showed_it(browser: Client, accept: Accept) -> None:
    email = accept()
    suppress("ada@example.com", email_id=email.id, now=NOW)

    assert f'<a href="/admin/emails/email/{email.id}/change/">' in browser.get(LIST).content.decode()


def test_takes_addresses_off_the_list(browser: Client, db: None) -> None:
    for name in "abc":
        suppress(f"{name}@example.com", now=NOW)

    browser.post(f"{LIST}a_40example.com/delete/", {"post": "yes"})
    browser.post(LIST, {"action": "delete_selected", "_selected_action": ["b@example.com"], "post": "yes"})

    assert [row.address for row in Suppression.objects.all()] == ["c@example.com"]


def test_imports_a_file_and_says_what_it_did_not_take(browser: Client, db: None) -> None:
    told = upload(browser, b"address,reason\nada@example.com,bounced\nnobody\n")

    assert [row.address for row in Suppression.objects.all()] == ["ada@example.com"]
    assert told[0] == "Imported 1 addresses."
    assert told[1].startswith("Line 3: ")


def test_others_may_write_while_a_file_is_read(browser: Client, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    in_transaction = []

    def noted(address: str) -> str:
        in_transaction.append(connection.in_atomic_block)
        return normalize_address(address)

    monkeypatch.setattr("project.suppressions.csv.normalize_address", noted)
    upload(browser, b"ada@example.com\nnobody\n")

    assert in_transaction == [False, False]


def test_who_imported_a_file_is_in_the_log_of_changes(browser: Client, db: None) -> None:
    upload(browser, b"ada@example.com\nbob@example.com\nnobody\n")

    entry = LogEntry.objects.select_related("user", "content_type").get()
    assert (entry.user.get_username(), entry.content_type and entry.content_type.model) == ("owner", "suppression")
    assert (entry.object_repr, entry.get_change_message()) == ("A CSV file", "Imported 2 addresses.")
    assert "Imported 2 addresses." in browser.get("/admin/admin/logentry/").content.decode()


def test_a_file_of_which_nothing_was_taken_changed_nothing(browser: Client, db: None) -> None:
    upload(browser, b"nobody\n")

    assert not LogEntry.objects.exists()


def test_of_many_bad_lines_says_how_many(browser: Client, db: None) -> None:
    told = upload(browser, b"nobody\n" * (MAX_SHOWN_ERRORS + 5))

    assert len(told) == 1 + MAX_SHOWN_ERRORS + 1
    assert told[-1] == "5 more lines were not taken."


def test_asks_for_a_file(browser: Client, db: None) -> None:
    assert 'type="file"' in browser.get(f"{LIST}import/").content.decode()
    assert "This field is required." in browser.post(f"{LIST}import/").content.decode()


def test_exports_the_list(browser: Client, db: None) -> None:
    suppress("ada@example.com", reason="bounced", now=NOW)

    answer = cast("StreamingHttpResponse", browser.get(f"{LIST}export/"))

    assert answer["Content-Disposition"] == 'attachment; filename="suppressions.csv"'
    assert downloaded(answer).splitlines() == ["address,reason,created_at", f"ada@example.com,bounced,{NOW.isoformat()}"]


def test_who_may_only_look_exports_and_does_not_import(teammate: User) -> None:
    client = Client()
    client.force_login(teammate)

    refused = client.get(f"{LIST}export/")
    teammate.user_permissions.add(Permission.objects.get(codename="view_suppression"))

    assert refused.status_code == 403
    assert client.get(f"{LIST}import/").status_code == 403
    assert downloaded(cast("StreamingHttpResponse", client.get(f"{LIST}export/"))) == "address,reason,created_at\r\n"
