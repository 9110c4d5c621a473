"""Search by words of the subject and by the beginning of an address, for emails and for the embedded mailbox."""

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext

from project.bridge.database.conditions import ensure_index, find_page_of_any
from project.emails.mime.builder import Draft
from project.emails.models import Email
from project.emails.search import EMAIL_SEARCH, Search
from project.emails.submit import NewEmail, prepare_email, submit_batch
from project.transports.admin import MAILBOX_SEARCH
from project.transports.mailbox_backend import MailboxBackend
from project.transports.models import MailboxMessage
from tests.project.conftest import NOW

MESSAGES = [
    ("Your order 4711 has shipped", "ada@example.com"),
    ("Order confirmation", "Grace.Hopper@example.com"),
    ("ÜBER Straße", "bob@example.org"),
    ("A letter to Ada", "carol@example.net"),
]
SEARCHES = [
    ("order", [0, 1]),
    ("ORDER shipped", [0]),
    ("order letter", []),
    ("4711", [0]),
    ("ord", []),
    ("uber strasse", [2]),
    ("ada", [0, 3]),
    ("ada@", [0]),
    ("ada@example.com", [0]),
    ("grace.h", [1]),
    ("GRACE.HOPPER@EXAMPLE", [1]),
    ("bob@ straße", [2]),
    ("bob@ order", []),
    ("%", []),
    ("_", []),
    ("!?", []),
]


@pytest.fixture(params=[5000, 0], ids=["few rows", "many rows"])
def _max_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.emails.search.MAX_ROWS", request.param)


@pytest.fixture
def emails(db: None) -> QuerySet[Email]:
    """Submit the emails, and return the query of all emails."""
    drafts = [Draft("shop@example.com", to=(address,), subject=subject, text="Hi") for subject, address in MESSAGES]
    submit_batch([prepare_email(NewEmail(draft), now=NOW) for draft in drafts])
    return Email.objects.all()


@pytest.fixture
def mailbox(db: None) -> QuerySet[MailboxMessage]:
    """Put the messages into the mailbox, and return the query of all messages."""
    MailboxBackend().send_messages([EmailMessage(subject, "Hi", "shop@example.com", [to]) for subject, to in MESSAGES])
    return MailboxMessage.objects.all()


@pytest.fixture(params=["emails", "mailbox"])
def search(request: pytest.FixtureRequest) -> Search:
    """Store the messages, and return the search in emails or in the mailbox."""
    request.getfixturevalue(request.param)
    return {"emails": EMAIL_SEARCH, "mailbox": MAILBOX_SEARCH}[request.param]


def page(search: Search, text: str) -> list[str]:
    """Return the subjects of the messages on the first page, oldest first."""
    alternatives = [ensure_index(conditions, search.messages) for conditions in search.conditions(text)]
    ids = find_page_of_any(alternatives, 100).ids
    return list(search.messages.filter(pk__in=ids).order_by("pk").values_list("subject", flat=True))


@pytest.mark.usefixtures("_max_rows")
@pytest.mark.parametrize(("text", "expected"), SEARCHES)
def test_finds_messages(search: Search, text: str, expected: list[int]) -> None:
    subjects = [MESSAGES[index][0] for index in expected]

    assert list(search.match(search.messages, text).order_by("pk").values_list("subject", flat=True)) == subjects
    assert page(search, text) == subjects


@pytest.mark.sqlite_only("reads plans of SQLite; tests/servers/test_postgresql_plans.py reads those of PostgreSQL")
@pytest.mark.usefixtures("_max_rows")
@pytest.mark.parametrize("text", ["order", "ada@", "order shipped", "ada"])
def test_reads_only_indexes(search: Search, text: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        page(search, text)

    plans = "".join(_explain(query["sql"]) for query in queries)
    scans = [line for line in plans.splitlines() if "SCAN" in line and "USING" not in line]
    allowed = ("SCAN transports_mailboxmessage", "SCAN subquery")  # the first one in the order of its primary key
    assert [line for line in scans if not line.startswith(allowed)] == []


def test_ignores_the_case_of_an_address(mailbox: QuerySet[MailboxMessage]) -> None:
    MailboxBackend().send_messages([EmailMessage("Mixed case", "Hi", "shop@example.com", ["Joan.Doe@example.com"])])

    assert page(MAILBOX_SEARCH, "joan.d") == ["Mixed case"]


def test_the_lists_search(browser: Client, emails: QuerySet[Email], mailbox: QuerySet[MailboxMessage]) -> None:
    for path in ("/admin/emails/email/", "/admin/transports/mailboxmessage/"):
        page = browser.get(path, {"q": "order shipped"})
        assert [row.subject for row in page.context["cl"].result_list] == [MESSAGES[0][0]]


def _explain(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        return "\n".join(row[3] for row in cursor.fetchall())
