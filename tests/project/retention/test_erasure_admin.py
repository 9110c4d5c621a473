"""Erasure of persons in the admin: preview, confirmation, rounds in the background, and the addresses of the job."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.serializers import serialize
from django.test import Client
from django.utils import timezone

from project.accounts import reauthentication
from project.accounts.models import User
from project.audit.models import AuditEvent
from project.emails.models import Email
from project.retention import erasure, forms
from project.retention.erasure_runner import fail_oldest, run_round
from project.retention.models import PersonErasure
from project.suppressions.models import Suppression
from tests.project.conftest import SubmitEmail

ADD, LIST, EMAILS = "/admin/retention/personerasure/add/", "/admin/retention/personerasure/", "/admin/emails/email/"
ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a round erase two emails."""
    monkeypatch.setattr(erasure, "BATCH_SIZE", 2)


@pytest.fixture
def emails(submit_email: SubmitEmail) -> list[Email]:
    """Create three emails to Ada and one to Bob."""
    return [submit_email(text, address) for text, address in (("1", ADA), ("2", ADA), ("3", ADA), ("4", BOB))]


@pytest.fixture
def officer(teammate: User) -> Client:
    """Return a test client of a user who may erase persons and nothing else."""
    teammate.user_permissions.add(Permission.objects.get(codename="add_personerasure"))
    browser = Client()
    browser.force_login(teammate)
    return browser


def confirm(browser: Client, *addresses: str, phrase: str, **fields: str) -> Any:
    """Post the last form, in which the user has typed the phrase."""
    return browser.post(ADD, {"addresses": "\n".join(addresses), "confirmation": phrase} | fields, follow=True)


def run_to_the_end() -> int:
    """Run rounds until none is left. Return their number."""
    rounds = 0
    while run_round(now=timezone.now()):
        rounds += 1
    return rounds


def test_previews_what_would_be_erased(officer: Client, emails: list[Email]) -> None:
    Suppression.objects.create(address=BOB)

    page = officer.post(ADD, {"addresses": f"{ADA}\n\n BOB@example.com \n{ADA}"}).content.decode()

    assert (
        f"<b>{ADA}</b>: 3 emails to the person alone, 0 emails to others too, 0 messages in the mailbox, 0 suppressions" in page
    )
    assert f"<b>{BOB}</b>: 1 email to the person alone, 0 emails to others too, 0 messages in the mailbox, 1 suppression." in page
    assert "Type <b>erase 2 people</b> to confirm" in page
    assert Email.objects.count() == 4


def test_erases_in_rounds_once_the_address_was_typed(officer: Client, emails: list[Email]) -> None:
    page = confirm(officer, ADA, phrase=" Ada@example.com ")
    rounds = run_to_the_end()

    job = PersonErasure.objects.get()
    assert page.redirect_chain == [(f"{LIST}{job.pk}/change/", 302)]
    assert (job.state, job.matched, job.deleted, job.persons, rounds) == ("finished", 3, 3, 1, 3)
    assert Email.objects.get() == emails[3]


def test_erases_several_people_and_their_suppressions(officer: Client, emails: list[Email]) -> None:
    Suppression.objects.create(address=EVE)

    confirm(officer, ADA, BOB, EVE, phrase="erase 3 people", with_suppression="on")
    run_to_the_end()

    status = officer.get(f"{LIST}{PersonErasure.objects.get().pk}/status/").json()
    assert (status["state"], status["processed"], status["matched"]) == ("finished", 4, 4)
    assert status["summary"].startswith("4 of 4 emails done. Erased: 4 emails to the person alone, 0 emails to others too, ")
    assert status["summary"].endswith(" 1 suppression.")
    assert not Email.objects.exists()
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("phrase", ["", BOB, "yes"])
def test_does_nothing_without_the_typed_phrase(officer: Client, emails: list[Email], phrase: str) -> None:
    page = confirm(officer, ADA, phrase=phrase)

    assert "This is not the text to type." in page.content.decode()
    assert not PersonErasure.objects.exists()


def test_returns_to_the_addresses(officer: Client) -> None:
    page = officer.post(ADD, {"addresses": ADA, "confirmation": ADA, "change": "Change the addresses"})

    assert f"{ADA}</textarea>" in page.content.decode()
    assert not PersonErasure.objects.exists()


def test_names_each_line_that_is_no_address(officer: Client) -> None:
    page = officer.post(ADD, {"addresses": f"ada\n{BOB}\n@x"}).content.decode()

    assert "ada: " in page
    assert "@x: " in page
    assert "erase 1" not in page


def test_limits_the_number_of_addresses(officer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MAX_PERSONS", 1)

    assert "Enter at most 1 addresses." in officer.post(ADD, {"addresses": f"{ADA}\n{BOB}"}).content.decode()


def test_there_may_be_nothing_to_erase(officer: Client) -> None:
    assert "There is nothing to erase now." in officer.post(ADD, {"addresses": ADA}).content.decode()


def test_takes_the_recipients_of_selected_emails(browser: Client, emails: list[Email]) -> None:
    selection = {"action": "erase_recipients", "_selected_action": [str(emails[0].pk), str(emails[3].pk)]}

    page = browser.post(EMAILS, selection, follow=True)

    assert page.redirect_chain == [(ADD, 302)]  # URLs are logged, so they contain no address
    assert f"{BOB}\n{ADA}</textarea>" in page.content.decode()
    assert ADA not in browser.get(ADD).content.decode()


def test_refuses_the_recipients_of_all_matching_emails(browser: Client, emails: list[Email]) -> None:
    selection = {"action": "erase_recipients", "_selected_action": str(emails[0].pk), "select_across": "1"}

    page = browser.post(EMAILS, selection, follow=True)

    assert "only for emails selected on one page" in page.content.decode()


def test_neither_the_job_nor_the_audit_trail_keeps_the_address(officer: Client, emails: list[Email]) -> None:
    confirm(officer, ADA, phrase=ADA)
    assert PersonErasure.objects.get().addresses == [ADA]
    run_to_the_end()

    event = AuditEvent.objects.get(action="person erased")
    assert (event.actor, event.actor_kind, event.object) == ("teammate", "session", "3 emails, addresses: 1 (finished)")
    assert ADA not in serialize("json", [PersonErasure.objects.get(), event])
    assert ADA not in json.dumps(
        [officer.get(path).content.decode() for path in (LIST, f"{LIST}{PersonErasure.objects.get().pk}/change/")]
    )


def test_says_that_emails_are_still_to_be_sent(officer: Client, emails: list[Email]) -> None:
    Email.objects.filter(pk=emails[0].pk).update(status="sending")

    confirm(officer, ADA, phrase=ADA)
    run_to_the_end()

    page = officer.get(f"{LIST}{PersonErasure.objects.get().pk}/change/").content.decode()
    assert "1 email is still to be sent: erase again afterwards." in page


def test_stops(officer: Client, emails: list[Email]) -> None:
    confirm(officer, ADA, phrase=ADA)
    run_round(now=timezone.now())

    page = officer.post(f"{LIST}{PersonErasure.objects.get().pk}/stop/", follow=True)

    job = PersonErasure.objects.get()
    assert (job.state, job.deleted, job.addresses) == ("stopped", 2, [])
    assert "2 of 3 emails done." in page.content.decode()
    assert run_to_the_end() == 0


def test_ends_when_the_user_loses_the_permission(officer: Client, emails: list[Email]) -> None:
    confirm(officer, ADA, phrase=ADA)
    User.objects.get(username="teammate").user_permissions.clear()

    run_to_the_end()

    job = PersonErasure.objects.get()
    assert (job.state, job.error, job.addresses) == ("failed", "teammate no longer has the permission.", [])


def test_ends_after_an_error(officer: Client, emails: list[Email]) -> None:
    confirm(officer, ADA, phrase=ADA)

    fail_oldest("ValueError", now=timezone.now())

    assert PersonErasure.objects.get().state == "failed"
    assert run_to_the_end() == 0


@pytest.mark.parametrize("path", [ADD, LIST, f"{LIST}1/change/", f"{LIST}1/status/", f"{LIST}1/stop/"])
def test_needs_the_permission(teammate: User, path: str) -> None:
    browser = Client()
    browser.force_login(teammate)

    assert browser.post(path, {"addresses": ADA}).status_code == 403


def test_an_unknown_erasure_is_not_found(officer: Client) -> None:
    assert {officer.get(f"{LIST}{path}").status_code for path in ("7/change/", "x/change/", "7/status/")} == {404}


def test_needs_a_recent_password(officer: Client, emails: list[Email], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reauthentication, "is_recent", lambda _request: False)

    page = confirm(officer, ADA, phrase=ADA)

    assert page.redirect_chain == [("/admin/reauthenticate/?next=%2Fadmin%2Fretention%2Fpersonerasure%2Fadd%2F", 302)]
    assert not PersonErasure.objects.exists()
