"""Pages while the database is unavailable."""

import pytest
from django.db import OperationalError
from django.test import Client

from project.accounts.models import User
from project.dashboard import views


@pytest.mark.parametrize(("error", "status"), [(OperationalError("lock timeout"), 503), (KeyError(), 500)])
def test_a_page_that_fails_with_a_database_error_is_503(
    owner: User, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail() -> int:
        raise error

    monkeypatch.setattr(views, "last_event_id", fail)
    browser = Client(raise_request_exception=False)
    browser.force_login(owner, "django.contrib.auth.backends.ModelBackend")

    response = browser.get("/admin/dashboard/stats")

    assert (response.status_code, response.headers.get("Retry-After")) == (status, "5" if status == 503 else None)
