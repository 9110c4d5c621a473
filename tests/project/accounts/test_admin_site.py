"""The back office: mail to look at, and to change by no hand."""

import pytest
from django.core.mail import EmailMessage
from django.db.models import Model
from django.test import Client

from project.accounts.models import User
from project.emails.models import Email
from project.transports.models import MailboxMessage
from tests.project.conftest import Accept

MODELS = ["emails/email", "transports/mailboxmessage"]


@pytest.fixture
def client() -> Client:
    """Django's."""
    return Client()


@pytest.fixture
def rows(accept: Accept) -> dict[str, Model]:
    """One of each."""
    email = accept("Hello Ada\nthe text of it")
    EmailMessage("Hello Ada", "Hello Ada\nthe text of it", email.sender, email.recipients).send()
    return {"emails/email": email, "transports/mailboxmessage": MailboxMessage.objects.get()}


@pytest.mark.parametrize("model", MODELS)
def test_lists_mail(browser: Client, rows: dict[str, Model], model: str) -> None:
    page = browser.get(f"/admin/{model}/").content.decode()

    assert "Hello Ada" in page
    assert "ada@example.com" in page


@pytest.mark.parametrize("model", MODELS)
def test_shows_a_mail_with_its_text(browser: Client, rows: dict[str, Model], model: str) -> None:
    page = browser.get(f"/admin/{model}/{rows[model].pk}/change/").content.decode()

    assert "Hello Ada" in page
    assert "the text of it" in page
    assert 'name="_save"' not in page


@pytest.mark.parametrize("model", MODELS)
def test_adds_no_mail(browser: Client, model: str) -> None:
    for answer in (
        browser.get(f"/admin/{model}/add/"),
        browser.post(f"/admin/{model}/add/", {"subject": "forged"}),
    ):
        assert answer.status_code == 403

    assert not Email.objects.exists()
    assert not MailboxMessage.objects.exists()


@pytest.mark.parametrize("model", MODELS)
def test_changes_no_mail(browser: Client, rows: dict[str, Model], model: str) -> None:
    answer = browser.post(f"/admin/{model}/{rows[model].pk}/change/", {"subject": "forged"})

    rows[model].refresh_from_db()
    assert answer.status_code == 403
    assert "Hello Ada" in str(rows[model])


@pytest.mark.parametrize("path", ["/admin/", "/admin/emails/email/", "/admin/accounts/user/"])
def test_is_for_those_who_signed_in(client: Client, db: None, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={path}")


def test_shows_no_mail_to_a_teammate_without_permission(client: Client, teammate: User) -> None:
    client.force_login(teammate)

    assert client.get("/admin/emails/email/").status_code == 403


def test_makes_people(browser: Client) -> None:
    form = {"username": "new", "usable_password": "true", "password1": "a long pass phrase", "password2": "a long pass phrase"}

    browser.post("/admin/accounts/user/add/", form)

    assert User.objects.get(username="new").check_password("a long pass phrase")
