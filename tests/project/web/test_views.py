"""The landing page and the service status."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from project.delivery.models import RelayOutage
from project.events.models import Event
from project.web.views import DELAYED, DOWN, OPERATIONAL, service_status
from tests.mailers import use_backend
from tests.project.conftest import SubmitEmail

NOW = datetime(2026, 12, 1, 9, 30, 20, tzinfo=UTC)


def test_is_operational_when_the_queue_is_empty(db: None) -> None:
    assert service_status() == OPERATIONAL
    assert "Operational" in Client().get("/").content.decode()


@pytest.mark.parametrize(("backend", "needs_key"), [("django.core.mail.backends.smtp.EmailBackend", True), (None, False)])
def test_the_curl_example_has_a_key_if_one_is_needed(db: None, settings: Settings, backend: str | None, needs_key: bool) -> None:
    use_backend(settings, backend or settings.MAILBOX_BACKEND)

    page = Client().get("/").content.decode()

    assert ("Authorization: Bearer $API_KEY" in page) == needs_key
    assert ("No key needed" in page) != needs_key


@pytest.mark.parametrize("api_docs", [True, False])
def test_links_to_the_api_docs_unless_they_are_switched_off(db: None, settings: Settings, api_docs: bool) -> None:
    settings.API_DOCS = api_docs

    page = Client().get("/").content.decode()

    assert ("/api/docs" in page, "/api/openapi.json" in page) == (api_docs, api_docs)


def test_is_delayed_when_an_email_waits_too_long(submit_email: SubmitEmail) -> None:
    submit_email()
    assert service_status() == OPERATIONAL

    Event.objects.update(created_at=timezone.now() - timedelta(minutes=3))

    assert service_status() == DELAYED


def test_shows_a_relay_outage_without_details(db: None) -> None:
    RelayOutage.objects.create(
        worker="e", started_at=NOW, next_probe_at=NOW, failures=3, error="relay.internal: Connection refused"
    )

    page = Client().get("/").content.decode()

    assert "Paused" in page
    assert "relay.internal" not in page


def test_is_down_when_the_database_is_not_available(db: None) -> None:
    def fail(*_args: Any) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(fail):
        assert service_status() == DOWN
