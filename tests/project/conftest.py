"""Fixtures for the Django half: queued emails, and a browser that is logged in as the owner."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from project.accounts.models import User
from project.delivery.claim import claim_emails
from project.emails.models import Email
from project.emails.submit import submit_plain_text_email

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
WORKER = "worker"

SubmitEmail = Callable[..., Email]
Claim = Callable[..., Email]


@pytest.fixture
def browser(owner: User) -> Client:
    """Return a test client that is logged in as the owner."""
    browser = Client()
    browser.force_login(owner)
    return browser


@pytest.fixture
def submit_email(shared_test_connection: None) -> SubmitEmail:
    """Return a function that queues a plain-text email, to Ada by default."""

    def submit_email(text: str = "Hi", address: str = "ada@example.com") -> Email:
        return Email.objects.get(id=submit_plain_text_email(address=address, text=text))

    return submit_email


@pytest.fixture
def claim(submit_email: SubmitEmail) -> Claim:
    """Return a function that queues a plain-text email and claims it for a worker."""

    def claim(text: str = "Hi", worker: str = WORKER, now: datetime = NOW) -> Email:
        submit_email(text)
        (email,) = claim_emails(worker, limit=1, now=now)
        return email

    return claim
