"""Pages of the list of emails with several filters: they check a limited number of emails, and say so."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from project.admin import changelist
from project.admin.changelist import KeysetAdmin
from project.bridge.database import conditions
from project.emails.admin.bulk_runner import run_round
from project.emails.models import BulkAction, Email
from project.emails.submit import prepare_email, submit_batch
from tests.project.conftest import NOW
from tests.project.transports.fake_relay import new_email

LIST = "/admin/emails/email/"
BLOCKED, OTHER = "550 Blocked", "451 Later"
FILTERS = {
    "status": "failed",
    "priority": "normal",
    "reason": BLOCKED,
    "owner": "key:1",
    "day": "today",
    "tag": "kind:receipt",
    "q": "parcel",
}
Pages = Callable[[dict[str, str]], list[list[str]]]


@pytest.fixture(autouse=True)
def _few_checked_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check at most four emails for a page of two."""
    for name, number in {"FIRST_CHECKED_ROWS": 2, "MAX_CHECKED_ROWS": 4, "MAX_COUNTED_ROWS": 1}.items():
        monkeypatch.setattr(conditions, name, number)
    monkeypatch.setattr(changelist, "MAX_CHECKED_ROWS", 4)
    monkeypatch.setattr("project.emails.search.MAX_ROWS", 3)
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)


@pytest.fixture
def pages(browser: Client) -> Pages:
    """Return a function that follows the links from the first page to the last one, and returns the subjects of each page."""

    def pages(query: dict[str, str]) -> list[list[str]]:
        changelists = [browser.get(LIST, query).context["cl"]]
        while changelists[-1].next_page:
            changelists.append(browser.get(f"{LIST}{changelists[-1].next_page}").context["cl"])
        return [[email.subject for email in each.result_list] for each in changelists]

    return pages


def submit(subject: str, address: str = "ada@example.com", kind: str = "receipt", owner: str = "key:1", **columns: Any) -> Email:
    """Store an email with these column values."""
    prepared = prepare_email(replace(new_email(address, text=subject), tags={"kind": kind}, owner_id=owner), now=NOW)
    submit_batch([prepared])
    Email.objects.filter(pk=prepared.email.id).update(**columns)
    return Email.objects.get(pk=prepared.email.id)


def submit_two_that_match_and_many_that_do_not() -> None:
    """Store emails that match one of the filters by status and by reason, and two that match both: the oldest and another one."""
    for number in range(20):
        in_both = number in (0, 10)
        submit(f"{number}", status="failed" if in_both or number % 2 else "delayed", reason=OTHER if number % 2 else BLOCKED)


def test_a_page_checks_a_limited_number_of_emails_and_says_so(browser: Client, pages: Pages) -> None:
    submit_two_that_match_and_many_that_do_not()
    query = {"status": "failed", "reason": BLOCKED}

    first = browser.get(LIST, query).content.decode()

    assert '<span role="status">4 checked, 0 found.</span>' in first
    assert 'rel="next">Continue</a>' in first
    assert "No results" not in first
    assert "0+ result" not in first
    assert [page for page in pages(query) if page] == [["10"], ["0"]]
    assert len(pages(query)) <= 20 // 4 + 1


@pytest.mark.parametrize("names", [*combinations(FILTERS, 1), *combinations(FILTERS, 2), tuple(FILTERS)], ids="+".join)
def test_the_pages_list_exactly_the_matching_emails(browser: Client, pages: Pages, names: tuple[str, ...]) -> None:
    chosen = {"status": ("failed", "sent"), "reason": (BLOCKED, OTHER), "owner": ("key:1", "key:2")}
    for number in range(16):
        columns = {field: values[number >> index & 1] for index, (field, values) in enumerate(chosen.items())}
        submit(f"{'parcel' if number % 3 else 'letter'} {number}", kind="receipt" if number % 5 else "other", **columns)
    query = {name: FILTERS[name] for name in names}

    listed = [subject for page in pages(query) for subject in page]

    assert listed == [email.subject for email in browser.get(LIST, query).context["cl"].all_matching.order_by("-pk")]
    assert len(listed) > 0


def test_a_word_or_the_beginning_of_an_address_is_found_page_by_page(pages: Pages) -> None:
    for number in range(9):
        submit(f"{number}", f"{'ada' if number % 3 else 'bob'}.{number}@example.com", reason=BLOCKED)
    submit("For ada", "bob@example.com", reason=BLOCKED)
    submit("For Ada", "ada@example.com", reason=BLOCKED)

    found = [subject for page in pages({"q": "ada"}) for subject in page]

    assert found == ["For Ada", "For ada", "8", "7", "5", "4", "2", "1"]


def test_the_number_of_emails_to_select_is_a_minimum_unless_all_were_checked(browser: Client, db: None) -> None:
    for number in range(12):
        submit(f"{number}", status="failed", reason=BLOCKED)

    several = browser.get(LIST, {"status": "failed", "reason": BLOCKED}).content.decode()
    single = browser.get(LIST, {"reason": BLOCKED}).content.decode()

    assert "Select all 4+ emails that match" in several
    assert "4+ results (" in several
    assert "Select all 12 emails that match" in single


def test_an_action_on_all_that_match_checks_a_limited_number_of_emails_in_a_round(browser: Client, db: None) -> None:
    submit_two_that_match_and_many_that_do_not()
    form = {"action": "cancel", "select_across": "1", "_selected_action": "00000000-0000-0000-0000-000000000000"}
    path = f"{LIST}?status=delayed&reason={OTHER}"  # an old link of a filter that no email matches
    Email.objects.filter(subject="0").update(status="delayed", reason=OTHER)

    confirmation = browser.post(path, form).content.decode()
    browser.post(path, form | {"confirmed": "yes"})
    rounds = 0
    while run_round(now=timezone.now()):
        rounds += 1

    job = BulkAction.objects.get()
    assert "<b>At least 0 emails</b> match the filters" in confirmation
    assert (job.state, job.changed, job.may_match_more) == ("finished", 1, True)
    assert Email.objects.get(status="canceled").subject == "0"
    assert 2 < rounds <= 20 // 4 + 3


def test_an_unknown_status_matches_no_emails(pages: Pages) -> None:
    submit("parcel")

    assert pages({"status": "lost"}) == [[]]


def test_a_filter_of_a_column_checks_a_limited_number_of_emails(pages: Pages) -> None:
    """Django's lists accept a filter of any column of the model in the query string."""
    for number in range(9):
        submit(f"{number}", sender="Ada <ada@example.com>" if number in (0, 8) else "Bob <bob@example.com>")

    assert pages({"sender": "Ada <ada@example.com>"}) == [["8"], [], ["0"]]
