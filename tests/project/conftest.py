"""Mail on its way, as the outbox's tests need it; and who looks at it in the back office."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from project.accounts.models import User
from project.outbox.accept import accept_message
from project.outbox.claim import claim_emails
from project.outbox.models import Email

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
ENGINE = "engine"

Accept = Callable[..., Email]
Claim = Callable[..., Email]


@pytest.fixture
def browser(owner: User) -> Client:
    """Where the owner is signed in."""
    browser = Client()
    browser.force_login(owner)
    return browser


@pytest.fixture
def accept(lent: None) -> Accept:
    """Queue a mail to Ada."""

    def accept(text: str = "Hi", address: str = "ada@example.com") -> Email:
        return Email.objects.get(id=accept_message(address=address, text=text))

    return accept


@pytest.fixture
def claim(accept: Accept) -> Claim:
    """Queue a mail, and take it in hand for an engine."""

    def claim(text: str = "Hi", engine: str = ENGINE, now: datetime = NOW) -> Email:
        accept(text)
        (email,) = claim_emails(engine, limit=1, now=now)
        return email

    return claim
