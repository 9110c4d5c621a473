"""The admin site: access to its pages, and emails, which are read-only."""

from urllib.parse import urlencode

import pytest
from django.core.mail import EmailMessage
from django.db.models import Model
from django.test import Client

from project.accounts.models import User
from project.emails.models import Email
from project.transports.models import MailboxMessage
from tests.conftest import PASSWORD
from tests.project.conftest import SubmitEmail

MODELS = ["emails/email", "transports/mailboxmessage"]


@pytest.fixture
def client() -> Client:
    """Return a Django test client without a session."""
    return Client()


@pytest.fixture
def rows(submit_email: SubmitEmail) -> dict[str, Model]:
    """Create an email and a mailbox message, and return them by the path of their admin pages."""
    email = submit_email("Hello Ada\nthe text of it")
    EmailMessage("Hello Ada", "Hello Ada\nthe text of it", email.sender, email.recipients).send()
    return {"emails/email": email, "transports/mailboxmessage": MailboxMessage.objects.get()}


@pytest.mark.parametrize(("app", "heading"), [("otp_totp", "Authenticator apps"), ("otp_static", "Recovery codes")])
def test_names_the_two_factor_apps_in_plain_words(browser: Client, app: str, heading: str) -> None:
    page = browser.get(f"/admin/{app}/").content.decode()

    assert f"<h1>{heading} administration</h1>" in page


@pytest.mark.parametrize("model", MODELS)
def test_lists_emails(browser: Client, rows: dict[str, Model], model: str) -> None:
    page = browser.get(f"/admin/{model}/").content.decode()

    assert "Hello Ada" in page
    assert "ada@example.com" in page


@pytest.mark.parametrize("model", MODELS)
def test_shows_an_email_with_its_text(browser: Client, rows: dict[str, Model], model: str) -> None:
    page = browser.get(f"/admin/{model}/{rows[model].pk}/change/").content.decode()

    assert "Hello Ada" in page
    assert "the text of it" in page
    assert 'name="_save"' not in page


@pytest.mark.parametrize("model", MODELS)
def test_rejects_adding_an_email(browser: Client, model: str) -> None:
    for response in (
        browser.get(f"/admin/{model}/add/"),
        browser.post(f"/admin/{model}/add/", {"subject": "forged"}),
    ):
        assert response.status_code == 403

    assert not Email.objects.exists()
    assert not MailboxMessage.objects.exists()


@pytest.mark.parametrize("model", MODELS)
def test_rejects_changing_an_email(browser: Client, rows: dict[str, Model], model: str) -> None:
    response = browser.post(f"/admin/{model}/{rows[model].pk}/change/", {"subject": "forged"})

    rows[model].refresh_from_db()
    assert response.status_code == 403
    assert "Hello Ada" in str(rows[model])


@pytest.mark.parametrize("path", ["/admin/", "/admin/emails/email/", "/admin/accounts/user/"])
def test_redirects_an_anonymous_visitor_to_the_login(client: Client, db: None, path: str) -> None:
    response = client.get(path)

    assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={path}")


def test_hides_emails_from_a_teammate_without_permission(client: Client, teammate: User) -> None:
    client.force_login(teammate)

    assert client.get("/admin/emails/email/").status_code == 403


def test_creates_a_user(browser: Client) -> None:
    form = {"username": "new", "usable_password": "true", "password1": "a long pass phrase", "password2": "a long pass phrase"}

    browser.post("/admin/accounts/user/add/", form)

    assert User.objects.get(username="new").check_password("a long pass phrase")


@pytest.mark.parametrize(
    "destination",
    ["https://evil.example/", "//evil.example", "///evil.example", "javascript:alert(1)", "http:evil", "\\\\evil.example", ""],
)
def test_a_login_with_a_refused_next_leads_to_the_admin(client: Client, owner: User, destination: str) -> None:
    for url, form in ((f"/admin/login/?{urlencode({'next': destination})}", {}), ("/admin/login/", {"next": destination})):
        response = client.post(url, {"username": "owner", "password": PASSWORD, **form})

        assert (response.status_code, response["Location"]) == (302, "/admin/")
        client.post("/admin/logout/")


def test_a_login_leads_to_the_page_that_was_asked_for(client: Client, owner: User) -> None:
    response = client.post("/admin/login/?next=/admin/emails/email/", {"username": "owner", "password": PASSWORD})

    assert response["Location"] == "/admin/emails/email/"
