"""Actions on all emails that match the list's filters: confirmation, rounds in the background, progress and stopping."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from project.accounts.models import User
from project.admin.changelist import KeysetAdmin
from project.emails.admin.actions import ACTIONS, Action
from project.emails.admin.bulk_runner import fail_oldest, run_round
from project.emails.models import BulkAction, Email, RawMessage, Tag
from tests.project.conftest import SubmitEmail

LIST = "/admin/emails/email/"
REASON = "550 5.7.1 Blocked"


@pytest.fixture
def failed(submit_email: SubmitEmail) -> list[Email]:
    """Create five failed emails with a reason, and one with another reason. Return the five, oldest first."""
    emails = [submit_email(f"failed {number}") for number in range(6)]
    Email.objects.update(status="failed", attempts=8, reason="550 Other")
    Email.objects.filter(pk__in=[email.pk for email in emails[:5]]).update(reason=REASON)
    return emails[:5]


@pytest.fixture(autouse=True)
def _small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a round change two emails, and a page of the list show two."""
    for name, action in ACTIONS.items():
        monkeypatch.setitem(ACTIONS, name, Action(**{**vars(action), "batch_size": 2}))
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 2)


def start(browser: Client, action: str, query: str, **fields: str) -> Any:
    """Post an action on all emails that match the query, confirmed unless `fields` say otherwise."""
    form = {"action": action, "select_across": "1", "_selected_action": str(UUID(int=0)), "confirmed": "yes"} | fields
    return browser.post(f"{LIST}?{query}", form, follow=True)


def run_to_the_end() -> int:
    """Run rounds until none is left. Return their number."""
    rounds = 0
    while run_round(now=timezone.now()):
        rounds += 1
    return rounds


def statuses() -> dict[str, str]:
    """Return the statuses of all emails by subject."""
    return dict(Email.objects.values_list("subject", "status"))


def test_the_list_offers_to_select_all_that_match(browser: Client, failed: list[Email]) -> None:
    page = browser.get(LIST, {"reason": REASON}).content.decode()

    assert "Select all 5 emails that match" in page


def test_asks_for_confirmation_with_the_number_and_the_filters(browser: Client, failed: list[Email]) -> None:
    page = start(browser, "retry", f"reason={REASON}", confirmed="")

    assert "<b>5 emails</b> match the filters" in page.content.decode()
    assert f"<li>reason: <b>{REASON}</b></li>" in page.content.decode()
    assert not BulkAction.objects.exists()


def test_retries_all_emails_of_one_reason_in_rounds(browser: Client, failed: list[Email]) -> None:
    page = start(browser, "retry", f"reason={REASON}&after={failed[2].pk}")
    rounds = run_to_the_end()

    job = BulkAction.objects.get()
    assert page.redirect_chain == [(f"{LIST}bulk/{job.pk}/", 302)]
    assert (job.state, job.matched, job.changed, job.skipped, rounds) == ("finished", 5, 5, {}, 4)
    assert statuses() == {f"failed {number}": "queued" for number in range(5)} | {"failed 5": "failed"}
    assert {email.attempts for email in Email.objects.filter(status="queued")} == {0}
    assert all(email.events.last().type == "email.queued" for email in failed)  # type: ignore[union-attr]
    assert LogEntry.objects.filter(object_id__in=[email.pk for email in failed], user__username="owner").count() == 5


def test_sends_copies_of_all_matching_emails(browser: Client, failed: list[Email]) -> None:
    start(browser, "resend", f"reason={REASON}")
    run_to_the_end()

    copies = Email.objects.exclude(resent_from=None)
    assert {copy.resent_from_id for copy in copies} == {email.pk for email in failed}
    assert {copy.status for copy in copies} == {"queued"}


def test_skips_emails_whose_status_does_not_allow_the_action(browser: Client, failed: list[Email]) -> None:
    Email.objects.filter(pk=failed[1].pk).update(status="delayed")
    Email.objects.filter(pk=failed[2].pk).update(status="bounced")

    start(browser, "cancel", f"reason={REASON}")
    run_to_the_end()

    progress = browser.get(f"{LIST}bulk/{BulkAction.objects.get().pk}/status/").json()
    assert (progress["state"], progress["matched"], progress["processed"], progress["changed"]) == ("finished", 5, 5, 1)
    assert progress["skipped"] == {
        "Cannot be canceled because the status is failed.": 3,
        "Cannot be canceled because the status is bounced.": 1,
    }
    assert progress["summary"].startswith("5 of 5 done. 1: Canceled. 1: Cannot be canceled")


@pytest.mark.parametrize("query", ["status=failed", "tag=order:42", "day=today", "owner=none", "q=ada@example.com", ""])
def test_applies_to_exactly_the_emails_of_the_list(browser: Client, failed: list[Email], query: str) -> None:
    Tag.objects.bulk_create(Tag(key="order", value="42", email=email) for email in failed[:3])
    listed = set(browser.get(f"{LIST}?{query}").context["cl"].all_matching.values_list("pk", flat=True))

    start(browser, "retry", query)
    run_to_the_end()

    assert set(Email.objects.filter(status="queued").values_list("pk", flat=True)) == listed
    assert len(listed) == (3 if "tag" in query else 6)


def test_retries_only_the_failed_recipients_of_partly_sent_emails(browser: Client, failed: list[Email]) -> None:
    results = {address: {"status": status} for address, status in [("a@b.example", "sent"), ("c@d.example", "failed")]}
    Email.objects.filter(pk=failed[0].pk).update(status="sent", recipient_results=results)
    Email.objects.filter(pk=failed[1].pk).update(status="sent")

    start(browser, "retry", f"reason={REASON}")
    run_to_the_end()

    assert Email.objects.get(pk=failed[0].pk).recipient_results == {"a@b.example": {"status": "sent"}}
    assert (statuses()["failed 0"], statuses()["failed 1"]) == ("queued", "sent")


def test_an_invalid_filter_matches_no_emails(browser: Client, failed: list[Email]) -> None:
    page = start(browser, "retry", "day=someday")

    assert "No emails match the filters." in page.content.decode()
    assert not BulkAction.objects.exists()


def test_leaves_out_emails_that_are_submitted_later(browser: Client, failed: list[Email], submit_email: SubmitEmail) -> None:
    start(browser, "cancel", "")
    submit_email("later")
    run_to_the_end()

    assert statuses()["later"] == "queued"


@pytest.mark.parametrize("action", ["retry", "resend"])
def test_skips_emails_whose_body_was_deleted(browser: Client, failed: list[Email], action: str) -> None:
    RawMessage.objects.filter(pk__in=[email.pk for email in failed[:3]]).delete()

    start(browser, action, f"reason={REASON}")
    run_to_the_end()

    job = BulkAction.objects.get()
    assert (job.state, job.changed, job.skipped) == ("finished", 2, {"The message was deleted after its retention period.": 3})


def test_cancels_emails_whose_body_was_deleted(browser: Client, failed: list[Email]) -> None:
    Email.objects.update(status="delayed")
    RawMessage.objects.all().delete()

    start(browser, "cancel", "")
    run_to_the_end()

    assert BulkAction.objects.get().changed == 6


def test_can_be_stopped(browser: Client, failed: list[Email]) -> None:
    start(browser, "retry", f"reason={REASON}")
    run_round(now=timezone.now())
    job = BulkAction.objects.get()

    page = browser.post(f"{LIST}bulk/{job.pk}/stop/", follow=True).content.decode()

    assert run_to_the_end() == 0
    assert list(statuses().values()).count("queued") == 2
    assert "2 of 5 done. 2: Queued again. Stopped." in page


def test_the_list_of_bulk_actions_leads_to_their_progress(browser: Client, failed: list[Email]) -> None:
    start(browser, "retry", f"reason={REASON}")

    page = browser.get("/admin/emails/bulkaction/").content.decode()

    assert f'<a href="{LIST}bulk/{BulkAction.objects.get().pk}/">Retry now</a>' in page
    assert "<h1>Bulk actions</h1>" in page


def test_ends_when_the_user_loses_the_permission(browser: Client, failed: list[Email], owner: User) -> None:
    start(browser, "retry", f"reason={REASON}")
    User.objects.update(is_superuser=False)

    run_to_the_end()

    job = BulkAction.objects.get()
    assert (job.state, job.error) == ("failed", "owner no longer has the permission.")
    assert set(statuses().values()) == {"failed"}


def test_an_error_ends_the_bulk_action(browser: Client, failed: list[Email]) -> None:
    start(browser, "retry", f"reason={REASON}")

    fail_oldest("ZeroDivisionError", now=timezone.now())

    page = browser.get(f"{LIST}bulk/{BulkAction.objects.get().pk}/").content.decode()
    assert "Ended early: ZeroDivisionError" in page
    assert run_to_the_end() == 0


def test_viewers_can_neither_start_nor_stop(teammate: User, browser: Client, failed: list[Email]) -> None:
    start(browser, "retry", f"reason={REASON}")
    job, viewer = BulkAction.objects.get(), Client()
    viewer.force_login(teammate)
    no_permission = viewer.get(f"{LIST}bulk/{job.pk}/").status_code
    teammate.user_permissions.add(Permission.objects.get(codename="view_email"))

    start(viewer, "retry", "")

    assert (no_permission, viewer.get(f"{LIST}bulk/{job.pk}/").status_code) == (403, 200)
    assert viewer.post(f"{LIST}bulk/{job.pk}/stop/").status_code == 403
    assert viewer.get(f"{LIST}bulk/{job.pk}/stop/").status_code == 405
    assert BulkAction.objects.get().state == "running"
