"""Emails in the admin: filters, search and pagination of the list, and the retry and cancel actions."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from project.accounts.models import User
from project.admin.changelist import KeysetAdmin
from project.api_keys.models import ApiKey
from project.emails.admin.filters import first_id_of_day, parse_day_range
from project.emails.models import Email, Recipient, Tag
from project.emails.priority import Priority
from project.emails.status import Status
from tests.project.conftest import SubmitEmail

LIST = "/admin/emails/email/"
Subjects = Callable[..., list[str]]
CreateEmail = Callable[..., Email]


@pytest.fixture
def subjects(browser: Client) -> Subjects:
    """Return a function that gets the subjects in the list, from top to bottom."""

    def subjects(**query: str) -> list[str]:
        return [email.subject for email in browser.get(LIST, query).context["cl"].result_list]

    return subjects


@pytest.fixture
def create_email(submit_email: SubmitEmail) -> CreateEmail:
    """Return a function that creates an email with this subject and these column values."""

    def create_email(subject: str, **columns: object) -> Email:
        email = submit_email(subject)
        Email.objects.filter(id=email.id).update(**columns)
        email.refresh_from_db()
        return email

    return create_email


# Filters and search


@pytest.mark.parametrize("status", [status.value for status in Status])
def test_filters_by_status(subjects: Subjects, create_email: CreateEmail, status: str) -> None:
    for each in Status:
        create_email(f"is {each}", status=each)

    assert subjects(status=status) == [f"is {status}"]


def test_filters_by_api_key_and_shows_its_name(browser: Client, create_email: CreateEmail) -> None:
    key = ApiKey.objects.create(name="The shop", prefix="public", secret_hash="", scopes=[])
    create_email("by the key", owner=f"key:{key.pk}")
    create_email("without an owner", owner="")

    page = browser.get(LIST, {"owner": f"key:{key.pk}"})

    assert [email.subject for email in page.context["cl"].result_list] == ["by the key"]
    assert '<span class="quiet">by The shop</span>' in page.content.decode()


def test_filters_by_user(subjects: Subjects, create_email: CreateEmail, owner: User) -> None:
    create_email("by the owner", owner=f"user:{owner.pk}")
    create_email("without an owner", owner="")

    assert subjects(owner=f"user:{owner.pk}") == ["by the owner"]
    assert subjects(owner="none") == ["without an owner"]


def test_filters_by_tag(subjects: Subjects, create_email: CreateEmail) -> None:
    for number in ("42", "43"):
        Tag.objects.get_or_create(key="order", value=number, email=create_email(f"order {number}"))

    assert subjects(tag="order:42") == ["order 42"]
    assert subjects(tag="order:44") == []


def test_filters_by_reason_and_offers_the_most_frequent_reasons(browser: Client, create_email: CreateEmail) -> None:
    for number in range(3):
        create_email(f"blocked {number}", status="bounced", reason="550 Blocked")
    create_email("later", status="delayed", reason="451 Later")

    page = browser.get(LIST, {"reason": "550 Blocked"})

    assert [email.subject for email in page.context["cl"].result_list] == ["blocked 2", "blocked 1", "blocked 0"]
    assert [text for text in ("550 Blocked (3)", "451 Later (1)") if text not in page.content.decode()] == []


def test_partly_sent_emails_have_a_badge_and_a_filter(browser: Client, create_email: CreateEmail) -> None:
    results = {address: {"status": status} for address, status in [("a@b.example", "sent"), ("c@d.example", "bounced")]}
    create_email("partly", status="sent", reason="550 Blocked", recipient_results=results)
    create_email("sent", status="sent")

    page = browser.get(LIST, {"status": "partly-sent"})

    assert [email.subject for email in page.context["cl"].result_list] == ["partly"]
    assert '<span class="status status-sent status-partly-sent">sent · 1 bounced</span>' in page.content.decode()


def test_filters_by_day(subjects: Subjects, create_email: CreateEmail) -> None:
    for at in ("2026-11-30T23:59:59.999", "2026-12-01T00:00", "2026-12-01T23:59:59.999", "2026-12-02T00:00"):
        milliseconds = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)
        Email.objects.create(id=UUID(int=(milliseconds << 80) + 7), subject=at, recipients=["ada@example.com"])

    assert subjects(day="2026-12-01") == ["2026-12-01T23:59:59.999", "2026-12-01T00:00"]


def test_filters_by_a_named_day_range(subjects: Subjects, create_email: CreateEmail) -> None:
    create_email("new")

    assert subjects(day="today") == subjects(day="week") == subjects(day="month") == ["new"]
    assert subjects(day="yesterday") == []


def test_parses_named_day_ranges() -> None:
    today = date(2026, 12, 3)

    assert parse_day_range("yesterday", today=today) == (date(2026, 12, 2), date(2026, 12, 2))
    assert parse_day_range("week", today=today) == (date(2026, 11, 27), today)
    assert parse_day_range("month", today=today) == (date(2026, 12, 1), today)


def test_the_first_id_of_a_day_before_1970_is_zero() -> None:
    assert first_id_of_day(date(1960, 1, 1)) == UUID(int=0)


@pytest.mark.parametrize("query", [{"day": "someday"}, {"tag": "order"}])
def test_warns_about_an_invalid_filter(browser: Client, create_email: CreateEmail, query: dict[str, str]) -> None:
    create_email("parcel")

    page = browser.get(LIST, query)

    assert list(page.context["cl"].result_list) == []
    assert len(page.context["messages"]) == 1


@pytest.mark.parametrize("term", ["{email.id}", "{email.message_id}", " bob@EXAMPLE.com "])
def test_searches_by_id_message_id_and_recipient(subjects: Subjects, submit_email: SubmitEmail, term: str) -> None:
    email = submit_email("to Bob", address="bob@example.com")
    Recipient.objects.get_or_create(address="bob@example.com", email=email)
    submit_email("to Ada")

    assert subjects(q=term.format(email=email)) == ["to Bob"]


def test_the_form_of_a_filter_keeps_the_other_filters(browser: Client, db: None) -> None:
    page = browser.get(LIST, {"status": "failed", "tag": "a:b", "after": str(UUID(int=1))}).content.decode()

    assert page.count('<input type="hidden" name="status" value="failed">') == 4  # one in each form: three filters and the search
    assert 'name="after"' not in page


# Query performance


@pytest.mark.sqlite_only("reads plans of SQLite; tests/servers/test_postgresql_plans.py reads those of PostgreSQL")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "emails_email_1"),
        ({"status": "queued"}, "email_queued"),
        ({"status": "failed"}, "email_failed"),
        ({"status": "sending"}, "email_sending"),
        ({"status": "delayed"}, "email_delayed"),
        ({"status": "scheduled"}, "email_scheduled"),
        ({"status": "partly-sent"}, "email_partly_sent"),
        ({"reason": "550 Blocked"}, "email_reason (reason=?)"),
        ({"reason": "550 Blocked", "owner": "key:1"}, "email_owner_reason (owner=? AND reason=?)"),
        ({"reason": "550 Blocked", "after": str(UUID(int=7))}, "email_reason (reason=? AND id<?)"),
        ({"owner": "key:1"}, "email_owner (owner=?)"),
        ({"day": "today"}, "emails_email_1 (id>? AND id<?)"),
        ({"day": "today", "status": "failed"}, "email_failed (id>? AND id<?)"),
        ({"tag": "order:42"}, "emails_tag_1 (key=? AND value=?)"),
        ({"q": str(UUID(int=7))}, "emails_email_1 (id=?)"),
        ({"after": str(UUID(int=7))}, "emails_email_1 (id<?)"),
    ],
)
def test_every_list_is_read_along_an_index(browser: Client, query: dict[str, str], index: str) -> None:
    criteria = browser.get(LIST, query).context["cl"].criteria

    with CaptureQueriesContext(connection) as queries:
        criteria.find(101, after=UUID(query["after"]) if "after" in query else None)

    plan = _plans([query["sql"] for query in queries])
    assert index in plan
    assert "TEMP B-TREE" not in plan
    scans = [line for line in plan.splitlines() if "SCAN" in line and "USING" not in line]
    assert scans in ([], ["SCAN subquery"])


def _plans(statements: Iterable[str]) -> str:
    with connection.cursor() as cursor:
        rows = [row for sql in statements for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]
    return "\n".join(row[-1] for row in rows)


def test_a_list_counts_no_rows_and_needs_no_query_per_email(browser: Client, create_email: CreateEmail, owner: User) -> None:
    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            browser.get(LIST)
        return [query["sql"] for query in captured]

    create_email("first", owner=f"user:{owner.pk}")
    queries_for_one = queries()
    for number in range(5):
        create_email(f"{number}", owner=f"key:{number}")

    assert len(queries()) <= len(queries_for_one) + 1  # the extra query gets the names of all keys
    assert "COUNT" not in "".join(queries_for_one)
    assert '"html"' not in "".join(queries_for_one)


def test_shows_and_filters_by_priority(browser: Client, create_email: CreateEmail) -> None:
    for priority in Priority:
        create_email(f"{priority} email", priority=priority)

    listed = {link: browser.get(f"{LIST}{link}") for link in ("", "?priority=high", "?priority=normal", "?priority=urgent")}

    assert [len(page.context["cl"].result_list) for page in listed.values()] == [3, 1, 1, 3]
    assert '<td class="field-priority_line">high</td>' in listed["?priority=high"].content.decode()
    assert '<td class="field-priority_line"></td>' in listed["?priority=normal"].content.decode()


def test_shows_the_request_that_submitted_the_email(browser: Client, create_email: CreateEmail) -> None:
    email = create_email("with a request", request_id="checkout-4711")

    assert "<dt>Request ID</dt><dd>checkout-4711</dd>" in browser.get(f"{LIST}{email.pk}/change/").content.decode()


def test_links_to_older_emails_and_back_to_the_first_page(
    browser: Client, create_email: CreateEmail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)
    for number in range(5):
        create_email(f"email {number}", status="failed")

    pages, link = [], "?status=failed"
    while link:
        cl = browser.get(f"{LIST}{link}").context["cl"]
        pages.append([email.subject for email in cl.result_list])
        link = cl.next_page

    assert pages == [["email 4", "email 3"], ["email 2", "email 1"], ["email 0"]]
    assert cl.first_page == "?status=failed"


def test_rejects_an_invalid_cursor(browser: Client, db: None) -> None:
    assert browser.get(LIST, {"after": "nothing"})["Location"] == f"{LIST}?e=1"


# Actions


def apply_action(browser: Client, action: str, *emails: Email) -> list[str]:
    """Apply an action to the selected emails. Return the messages that the page shows."""
    form = {"action": action, "_selected_action": [str(email.pk) for email in emails]}
    return [str(message) for message in browser.post(LIST, form, follow=True).context["messages"]]


def test_retries_failed_emails_and_reports_the_others(browser: Client, create_email: CreateEmail) -> None:
    failed, sent = create_email("failed one", status="failed", attempts=8), create_email("sent one", status="sent")

    messages = apply_action(browser, "retry", failed, sent)

    failed.refresh_from_db()
    assert (failed.status, failed.attempts) == ("queued", 0)
    assert sorted(messages) == [
        "“failed one”: Queued again.",
        "“sent one”: This email cannot be retried because its status is sent.",
    ]


def test_cancels_a_queued_email(browser: Client, create_email: CreateEmail) -> None:
    waiting = create_email("waiting")

    messages = apply_action(browser, "cancel", waiting)

    waiting.refresh_from_db()
    assert waiting.status == "canceled"
    assert messages == ["“waiting”: Canceled."]
    assert waiting.events.last().type == "email.canceled"  # type: ignore[union-attr]  # not None, because the email has events


def test_selected_delayed_emails_can_be_retried_and_canceled(browser: Client, create_email: CreateEmail) -> None:
    emails = [create_email(f"email {number}", status="delayed") for number in range(4)]

    apply_action(browser, "retry", *emails[:2])
    apply_action(browser, "cancel", *emails[2:])

    assert [Email.objects.get(pk=email.pk).status for email in emails] == ["queued", "queued", "canceled", "canceled"]


@pytest.mark.parametrize("status", ["bounced", "suppressed", "failed"])
def test_an_email_can_be_sent_again(browser: Client, create_email: CreateEmail, status: str) -> None:
    first = create_email("again", status=status)

    page = browser.post(f"{LIST}{first.pk}/resend/", follow=True)

    copy = Email.objects.get(resent_from=first)
    assert page.redirect_chain == [(f"{LIST}{copy.pk}/change/", 302)]
    assert f'href="{LIST}{first.pk}/change/"' in page.content.decode()
    assert f'href="{LIST}{copy.pk}/change/"' in browser.get(f"{LIST}{first.pk}/change/").content.decode()


def test_sending_again_requires_the_permission_to_send(teammate: User, create_email: CreateEmail) -> None:
    teammate.user_permissions.set(Permission.objects.filter(codename__in=["view_email", "change_email"]))
    client, failed = Client(), create_email("failed one", status="failed")
    client.force_login(teammate)

    assert client.post(f"{LIST}{failed.pk}/resend/").status_code == 403
    assert client.post(f"{LIST}{failed.pk}/retry/").status_code == 302


def test_a_button_on_the_page_applies_the_action(browser: Client, create_email: CreateEmail, owner: User) -> None:
    failed = create_email("failed one", status="failed")

    response = browser.post(f"{LIST}{failed.pk}/retry/")

    failed.refresh_from_db()
    assert (response.status_code, response["Location"]) == (302, f"{LIST}{failed.pk}/change/")
    assert failed.status == "queued"
    assert [str(entry.user) for entry in LogEntry.objects.filter(object_id=failed.pk)] == ["owner"]


def test_shows_that_the_body_was_deleted(browser: Client, create_email: CreateEmail) -> None:
    email = create_email("an email", status="failed")
    email.raw_message.delete()

    page = browser.get(f"/admin/emails/email/{email.pk}/change/")

    text = page.content.decode()
    assert "The message was deleted after its retention period." in text
    assert ("Download source" in text, page.context["possible_actions"]) == (False, [])
    assert browser.get(f"/admin/emails/email/{email.pk}/source/").status_code == 404


def test_shows_only_buttons_for_possible_actions(browser: Client, create_email: CreateEmail) -> None:
    emails = {status: create_email("an email", status=status) for status in ("failed", "queued", "delayed", "sent", "sending")}
    pages = {status: browser.get(f"{LIST}{email.pk}/change/") for status, email in emails.items()}

    names = {status: [each["name"] for each in page.context["possible_actions"]] for status, page in pages.items()}
    assert names == {
        "failed": ["retry", "resend"],
        "queued": ["cancel"],
        "delayed": ["retry", "cancel"],
        "sent": ["resend"],
        "sending": [],
    }


def test_a_get_request_does_not_apply_an_action(browser: Client, create_email: CreateEmail) -> None:
    failed = create_email("failed one", status="failed")

    assert browser.get(f"{LIST}{failed.pk}/retry/").status_code == 405
    assert not Email.objects.exclude(status="failed").exists()


def test_the_view_permission_allows_no_action(teammate: User, create_email: CreateEmail) -> None:
    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))
    client, failed = Client(), create_email("failed one", status="failed")
    client.force_login(teammate)

    page, response = client.get(f"{LIST}{failed.pk}/change/"), client.post(f"{LIST}{failed.pk}/retry/")

    assert (page.status_code, page.context["possible_actions"]) == (200, [])
    assert response.status_code == 403
    assert ">Retry now<" not in client.get(LIST).content.decode()
    assert Email.objects.get().status == "failed"


def test_emails_cannot_be_deleted(browser: Client, create_email: CreateEmail) -> None:
    email = create_email("an email")

    assert browser.post(f"{LIST}{email.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Email.objects.filter(pk=email.pk).exists()
