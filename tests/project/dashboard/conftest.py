"""Fixtures for tests of the dashboard's statistics."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from project.emails.models import Email
from project.events.models import Event
from tests.project.conftest import SubmitEmail

NOW = datetime(2026, 12, 1, 9, 30, 20, tzinfo=UTC)

RecordEvent = Callable[..., Event]


@pytest.fixture
def record_event(submit_email: SubmitEmail) -> RecordEvent:
    """Return a function that creates an event `ago` before NOW, and its email, by default one second before the event."""
    template: dict[str, Any] = {**Email.objects.filter(pk=submit_email().pk).values().get()}
    Event.objects.all().delete()
    del template["id"]

    def record_event(status: str, ago: timedelta = timedelta(), **fields: Any) -> Event:
        at = NOW - ago
        email = Email.objects.create(**(template | {"status": status, "created_at": at - timedelta(seconds=1)} | fields))
        return Event.objects.create(email=email, type=f"email.{status}", created_at=at, data={})

    return record_event
