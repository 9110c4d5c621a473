"""Calls with a session cookie are activity of the session, as page loads in the admin are."""

import logging

from django.http import HttpRequest
from django.utils import timezone

from project.accounts.sessions import activity_of, is_activity, write_activity
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, run_in_transaction

logger = logging.getLogger(__name__)


async def record_session_activity(request: HttpRequest) -> None:
    """Extend the session of a call, unless that was done within the last minute. Polling by an open page does not count."""
    activity = activity_of(request) if is_activity(request) else None
    if activity is None:
        return
    try:
        await run_in_transaction(write_activity, activity, now=timezone.now())
    except DATABASE_UNAVAILABLE_ERRORS:  # callers can still read while writes fail
        logger.warning("Could not record the activity of a session", exc_info=True)
