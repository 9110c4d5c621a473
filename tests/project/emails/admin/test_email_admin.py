"""The e-mails in the back office: how they are found, and what can be done to them."""

from collections.abc import Callable
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
from project.emails.status import Status
from tests.project.conftest import Accept

LIST = "/admin/emails/email/"
Subjects = Callable[..., list[str]]


@pytest.fixture
def subjects(browser: Client) -> Subjects:
    """What a list shows, from top to bottom."""

    def subjects(**query: str) -> list[str]:
        return [email.subject for email in browser.get(LIST, query).context["cl"].result_list]

    return subjects


@pytest.fixture
def mail(accept: Accept) -> Callable[..., Email]:
    """Queue a mail, and say what else is true of it."""

    def mail(subject: str, **more: object) -> Email:
        email = accept(subject)
        Email.objects.filter(id=email.id).update(**more)
        email.refresh_from_db()
        return email

    return mail


Mail = Callable[..., Email]


# Found


@pytest.mark.parametrize("status", [status.value for status in Status])
def test_shows_mail_of_one_status(subjects: Subjects, mail: Mail, status: str) -> None:
    for each in Status:
        mail(f"is {each}", status=each)

    assert subjects(status=status) == [f"is {status}"]


def test_shows_the_mail_of_one_key_with_its_name(browser: Client, mail: Mail) -> None:
    key = ApiKey.objects.create(name="The shop", prefix="public", secret_hash="", scopes=[])
    mail("by the key", owner=f"key:{key.pk}")
    mail("by nobody", owner="")

    page = browser.get(LIST, {"owner": f"key:{key.pk}"})

    assert [email.subject for email in page.context["cl"].result_list] == ["by the key"]
    assert '<td class="field-by">The shop</td>' in page.content.decode()


def test_shows_the_mail_of_one_person(subjects: Subjects, mail: Mail, owner: User) -> None:
    mail("by the owner", owner=f"user:{owner.pk}")
    mail("by nobody", owner="")

    assert subjects(owner=f"user:{owner.pk}") == ["by the owner"]
    assert subjects(owner="none") == ["by nobody"]


def test_shows_the_mail_with_a_tag(subjects: Subjects, mail: Mail) -> None:
    for number in ("42", "43"):
        Tag.objects.get_or_create(key="order", value=number, email=mail(f"order {number}"))

    assert subjects(tag="order:42") == ["order 42"]
    assert subjects(tag="order:44") == []


def test_shows_the_mail_of_a_day(subjects: Subjects, mail: Mail) -> None:
    for at in ("2026-11-30T23:59:59.999", "2026-12-01T00:00", "2026-12-01T23:59:59.999", "2026-12-02T00:00"):
        milliseconds = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)
        Email.objects.create(id=UUID(int=(milliseconds << 80) + 7), subject=at, recipients=["ada@example.com"])

    assert subjects(day="2026-12-01") == ["2026-12-01T23:59:59.999", "2026-12-01T00:00"]


def test_shows_the_mail_of_today(subjects: Subjects, mail: Mail) -> None:
    mail("new")

    assert subjects(day="today") == subjects(day="week") == subjects(day="month") == ["new"]
    assert subjects(day="yesterday") == []


def test_knows_days_by_name() -> None:
    today = date(2026, 12, 3)

    assert parse_day_range("yesterday", today=today) == (date(2026, 12, 2), date(2026, 12, 2))
    assert parse_day_range("week", today=today) == (date(2026, 11, 27), today)
    assert parse_day_range("month", today=today) == (date(2026, 12, 1), today)


def test_the_first_id_of_a_day_before_all_ids_is_the_least() -> None:
    assert first_id_of_day(date(1960, 1, 1)) == UUID(int=0)


@pytest.mark.parametrize("query", [{"day": "someday"}, {"tag": "order"}, {"q": "parcel"}])
def test_says_what_it_cannot_look_for(browser: Client, mail: Mail, query: dict[str, str]) -> None:
    mail("parcel")

    page = browser.get(LIST, query)

    assert list(page.context["cl"].result_list) == []
    assert len(page.context["messages"]) == 1


@pytest.mark.parametrize("form", ["{email.id}", "{email.message_id}", " bob@EXAMPLE.com "])
def test_finds_a_mail(subjects: Subjects, accept: Accept, form: str) -> None:
    wanted = accept("to Bob", address="bob@example.com")
    Recipient.objects.get_or_create(address="bob@example.com", email=wanted)
    accept("to Ada")

    assert subjects(q=form.format(email=wanted)) == ["to Bob"]


def test_the_form_of_a_filter_keeps_the_other_filters(browser: Client, db: None) -> None:
    page = browser.get(LIST, {"status": "failed", "tag": "a:b", "after": str(UUID(int=1))}).content.decode()

    assert page.count('<input type="hidden" name="status" value="failed">') == 3  # with the search's
    assert 'name="after"' not in page


# Fast


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "emails_email_1"),
        ({"status": "queued"}, "email_queued"),
        ({"status": "failed"}, "email_failed"),
        ({"status": "sending"}, "email_sending"),
        ({"status": "delayed"}, "email_delayed"),
        ({"status": "scheduled"}, "email_scheduled"),
        ({"owner": "key:1"}, "email_owner (owner=?)"),
        ({"day": "today"}, "emails_email_1 (id>? AND id<?)"),
        ({"day": "today", "status": "failed"}, "email_failed (id>? AND id<?)"),
        ({"tag": "order:42"}, "emails_tag_1 (key=? AND value=?)"),
        ({"q": "ada@example.com"}, "emails_recipient_1 (address=?)"),
        ({"q": str(UUID(int=7))}, "emails_email_1 (id=?)"),
        ({"after": str(UUID(int=7))}, "emails_email_1 (id<?)"),
    ],
)
def test_every_list_is_read_along_an_index(browser: Client, query: dict[str, str], index: str) -> None:
    emails = browser.get(LIST, query).context["cl"].queryset[:101]

    plan = emails.explain()

    assert index in plan
    assert "TEMP B-TREE" not in plan
    assert [line for line in plan.splitlines() if "SCAN" in line and "USING" not in line] == []


def test_a_list_counts_nothing_and_asks_no_more_for_many_mails(browser: Client, mail: Mail, owner: User) -> None:
    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            browser.get(LIST)
        return [query["sql"] for query in captured]

    mail("first", owner=f"user:{owner.pk}")
    for_one = queries()
    for number in range(5):
        mail(f"{number}", owner=f"key:{number}")

    assert len(queries()) <= len(for_one) + 1  # the keys' names, all at once
    assert "COUNT" not in "".join(for_one)
    assert '"html"' not in "".join(for_one)


def test_leads_to_older_mail_and_back(browser: Client, mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)
    for number in range(5):
        mail(f"mail {number}", status="failed")

    seen, link = [], "?status=failed"
    while link:
        cl = browser.get(f"{LIST}{link}").context["cl"]
        seen.append([email.subject for email in cl.result_list])
        link = cl.next_page

    assert seen == [["mail 4", "mail 3"], ["mail 2", "mail 1"], ["mail 0"]]
    assert cl.first_page == "?status=failed"


def test_a_page_that_begins_nowhere_is_refused(browser: Client, db: None) -> None:
    assert browser.get(LIST, {"after": "nothing"})["Location"] == f"{LIST}?e=1"


# Changed


def act(browser: Client, action: str, *emails: Email) -> list[str]:
    """Do it to what was selected. Gives what is told."""
    form = {"action": action, "_selected_action": [str(email.pk) for email in emails]}
    return [str(message) for message in browser.post(LIST, form, follow=True).context["messages"]]


def test_retries_what_failed_and_says_what_did_not(browser: Client, mail: Mail) -> None:
    failed, sent = mail("failed one", status="failed", attempts=8), mail("sent one", status="sent")

    told = act(browser, "retry", failed, sent)

    failed.refresh_from_db()
    assert (failed.status, failed.attempts) == ("queued", 0)
    assert sorted(told) == ["“failed one”: Queued again.", "“sent one”: This email is sent."]


def test_cancels_what_waits(browser: Client, mail: Mail) -> None:
    waiting = mail("waiting")

    told = act(browser, "cancel", waiting)

    waiting.refresh_from_db()
    assert waiting.status == "canceled"
    assert told == ["“waiting”: Canceled."]
    assert waiting.events.last().type == "email.canceled"  # type: ignore[union-attr]  # there is one


def test_the_buttons_do_the_same(browser: Client, mail: Mail, owner: User) -> None:
    failed = mail("failed one", status="failed")

    answer = browser.post(f"{LIST}{failed.pk}/retry/")

    failed.refresh_from_db()
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}{failed.pk}/change/")
    assert failed.status == "queued"
    assert [str(entry.user) for entry in LogEntry.objects.filter(object_id=failed.pk)] == ["owner"]


def test_a_button_is_there_while_it_can_be_pressed(browser: Client, mail: Mail) -> None:
    pages = {status: browser.get(f"{LIST}{mail('it', status=status).pk}/change/") for status in ("failed", "queued", "sent")}

    assert {status: page.context["verbs"] for status, page in pages.items()} == {
        "failed": ["retry"],
        "queued": ["cancel"],
        "sent": [],
    }


def test_changes_nothing_by_a_link(browser: Client, mail: Mail) -> None:
    failed = mail("failed one", status="failed")

    assert browser.get(f"{LIST}{failed.pk}/retry/").status_code == 405
    assert not Email.objects.exclude(status="failed").exists()


def test_who_may_only_look_changes_nothing(teammate: User, mail: Mail) -> None:
    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))
    client, failed = Client(), mail("failed one", status="failed")
    client.force_login(teammate)

    page, pressed = client.get(f"{LIST}{failed.pk}/change/"), client.post(f"{LIST}{failed.pk}/retry/")

    assert (page.status_code, page.context["verbs"]) == (200, [])
    assert pressed.status_code == 403
    assert "Retry the selected" not in client.get(LIST).content.decode()
    assert Email.objects.get().status == "failed"


def test_no_mail_is_deleted(browser: Client, mail: Mail) -> None:
    kept = mail("kept")

    assert browser.post(f"{LIST}{kept.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Email.objects.filter(pk=kept.pk).exists()
