"""Lists of the admin whose tables grow without limit: each page checks a limited number of rows."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from project.accounts.models import User
from project.admin.changelist import KeysetAdmin, KeysetChangeList
from project.audit.models import AuditAction, AuditEvent
from project.bridge.database import conditions
from project.emails.models import BulkAction, Email
from project.suppressions.models import Suppression
from project.transports.models import MailboxMessage, MailboxTerm

GROWING = (Email, BulkAction, AuditEvent, LogEntry, MailboxMessage, Suppression)
AUDIT, HISTORY = "/admin/audit/auditevent/", "/admin/admin/logentry/"


@pytest.fixture(autouse=True)
def _few_checked_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check at most four rows for a page of two."""
    for name, number in {"FIRST_CHECKED_ROWS": 2, "MAX_CHECKED_ROWS": 4, "MAX_COUNTED_ROWS": 1}.items():
        monkeypatch.setattr(conditions, name, number)
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)


def pages(browser: Client, path: str, query: dict[str, str]) -> list[list[Any]]:
    """Follow the links from the first page to the last one, and return the rows of each page."""
    changelists: list[KeysetChangeList] = [browser.get(path, query).context["cl"]]
    while changelists[-1].next_page:
        changelists.append(browser.get(f"{path}{changelists[-1].next_page}").context["cl"])
    return [list(each.result_list) for each in changelists]


@pytest.mark.parametrize("model", GROWING, ids=lambda model: model._meta.label)
def test_lists_of_growing_tables_have_keyset_pagination(model: Any) -> None:
    assert isinstance(admin.site.get_model_admin(model), KeysetAdmin)


@pytest.mark.parametrize(
    ("name", "value"),
    [("action__exact", "key created"), ("actor_kind", "token"), ("reason", "bad key"), ("q", "ada"), ("actor", "ada")],
)
def test_the_audit_trail_checks_a_limited_number_of_rows_for_a_page(browser: Client, name: str, value: str) -> None:
    query = {name: value}
    AuditEvent.objects.all().delete()
    rare = {"action": AuditAction.KEY_CREATED, "actor": "ada", "actor_kind": "token", "reason": "bad key"}
    common = {"action": AuditAction.LOGGED_IN, "actor": "bob", "actor_kind": "key", "reason": "token"}
    for number in range(14):
        AuditEvent.objects.create(**(rare if number in (0, 6) else common))

    rows = pages(browser, AUDIT, query)

    assert [event.actor for page in rows for event in page] == ["ada", "ada"]
    assert len(rows) == 4
    assert "4 checked, 0 found." in browser.get(AUDIT, query).content.decode()


def test_the_history_checks_a_limited_number_of_rows_for_a_page(browser: Client, owner: User) -> None:
    for number in range(10):
        fields = {"user": owner, "object_repr": "rare" if number == 0 else "common", "action_flag": CHANGE}
        LogEntry.objects.create(**fields)

    assert [[entry.object_repr for entry in page] for page in pages(browser, HISTORY, {"q": "rare"})] == [[], [], ["rare"]]


@pytest.mark.parametrize("path", [AUDIT, HISTORY])
def test_a_list_neither_counts_all_rows_nor_reads_the_values_of_its_filters(browser: Client, path: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        browser.get(path)

    statements = [query["sql"] for query in queries]
    assert [sql for sql in statements if "DISTINCT" in sql] == []
    assert [sql for sql in statements if re.search(r"COUNT\(.*(audit_auditevent|django_admin_log)", sql)] == []


def test_the_mailbox_checks_a_limited_number_of_messages_for_a_page(browser: Client, db: None) -> None:
    """Each word of the search has many messages, but only two messages have both."""
    for number in range(14):
        message = MailboxMessage.objects.create(subject=f"{number}", recipients=[], source=b"")
        words = ("blue", "parcel") if number in (0, 6) else (("blue", "parcel")[number % 2],)
        MailboxTerm.objects.bulk_create(MailboxTerm(term=word, message=message) for word in words)

    rows = pages(browser, "/admin/transports/mailboxmessage/", {"q": "blue parcel"})

    assert [message.subject for page in rows for message in page] == ["6", "0"]
    assert 1 < len(rows) <= 4


def test_suppressions_are_listed_in_the_order_of_addresses(browser: Client, db: None) -> None:
    addresses = [f"{name}@example.com" for name in ("ada", "adam", "bob", "adele", "carol")]
    Suppression.objects.bulk_create(Suppression(address=each, reason="550" if "ad" in each else "") for each in addresses)
    path = "/admin/suppressions/suppression/"

    found = [[entry.address.partition("@")[0] for entry in page] for page in pages(browser, path, {"q": "ad"})]
    checked = [entry.address for page in pages(browser, path, {"reason": "", "q": ""}) for entry in page]

    assert found == [["ada", "adam"], ["adele"]]
    assert checked == ["bob@example.com", "carol@example.com"]
