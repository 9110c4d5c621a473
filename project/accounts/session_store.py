"""Django's database sessions with two limits: an absolute one from the login on, and one without activity.

The end of the session is the `expire_date` of its row. So Django itself rejects the session, in the admin and in the API.
"""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone

STARTED_KEY = "started_at"  # in the session: seconds since 1970


class SessionStore(DatabaseSessionStore):
    """Sessions that end `SESSION_MAX_AGE` after the login, and `SESSION_IDLE_TIMEOUT` after the last activity."""

    expires_at: datetime | None = None  # of a loaded session

    def get_expiry_age(self, **_kwargs: Any) -> int:
        """Return the maximum age of the cookie in seconds. Activity extends the session without setting the cookie again."""
        return max(0, int((self.absolute_limit() - timezone.now()).total_seconds()))

    def get_expiry_date(self, **_kwargs: Any) -> datetime:
        """Return when the session ends if there is no further activity."""
        limit, idle = self.absolute_limit(), settings.SESSION_IDLE_TIMEOUT
        return min(limit, timezone.now() + idle) if idle else limit

    def absolute_limit(self) -> datetime:
        """Return when the session ends in any case."""
        return self.started_at() + settings.SESSION_MAX_AGE

    def started_at(self) -> datetime:
        """Return the time of the login, or now for a session without a login."""
        started = self.get(STARTED_KEY)
        return datetime.fromtimestamp(started, UTC) if isinstance(started, int | float) else timezone.now()

    def _validate_session_key(self, key: str | None) -> bool:
        """Ignore a key from a cookie that PostgreSQL cannot look up."""
        return bool(super()._validate_session_key(key)) and "\x00" not in str(key)  # type: ignore[misc]  # not in django-stubs

    def _get_session_from_db(self) -> Session | None:
        session: Session | None = super()._get_session_from_db()  # type: ignore[misc]  # not in django-stubs
        self.expires_at = session.expire_date if session is not None else None
        return session
