"""The sessions of users: when each began, when and from where it was last used. A user can end one of them, or all others."""

import logging
import time
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.db.models import F, QuerySet
from django.dispatch import Signal, receiver
from django.http import HttpRequest
from django.utils import timezone

from project.accounts.models import User, UserSession
from project.accounts.reauthentication import mark_recent
from project.accounts.session_store import STARTED_KEY, SessionStore
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, call_in_transaction
from project.limits.client_network import valid_ip_address

logger = logging.getLogger(__name__)

RECORD_INTERVAL_SECONDS = 60.0
MAX_TRACKED = 10_000  # sessions
MAX_USER_AGENT_LENGTH = 300  # characters
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
POLLED_VIEWS = frozenset({"dashboard_stats"})  # pages request them without the user

sessions_ended = Signal()  # sent with `user`, in the transaction
_recorded_at: dict[str, float] = {}  # when this process last recorded the activity of a session, on the monotonic clock


@dataclass(frozen=True)
class Activity:
    """A use of a session."""

    session_key: str
    user_id: int
    started_at: datetime
    expires_at: datetime
    ip_address: str | None
    user_agent: str


def is_activity(request: HttpRequest) -> bool:
    """Return whether the user has done something: opened a page or sent a form. Scripts of an open page poll without the user."""
    if request.method not in SAFE_METHODS:
        return True
    match = request.resolver_match
    is_polled = match is not None and match.url_name in POLLED_VIEWS
    return not is_polled and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"


def record_activity(request: HttpRequest) -> None:
    """Extend the session, and remember when and from where it was used. Does nothing if that was done within the last minute."""
    activity = activity_of(request) if is_activity(request) else None
    if activity is None:
        return
    try:
        call_in_transaction(write_activity, activity, now=timezone.now())
    except DATABASE_UNAVAILABLE_ERRORS:  # users can still read while writes fail
        logger.warning("Could not record the activity of a session", exc_info=True)


def activity_of(request: HttpRequest) -> Activity | None:
    """Return the activity to record, or None without a session, or if it was recorded within the last minute."""
    session: SessionStore = request.session  # type: ignore[assignment]  # SESSION_ENGINE
    user_id = session.get(SESSION_KEY)
    key, now = session.session_key, time.monotonic()
    if user_id is None or key is None or now < _recorded_at.get(key, -RECORD_INTERVAL_SECONDS) + RECORD_INTERVAL_SECONDS:
        return None
    if len(_recorded_at) >= MAX_TRACKED:
        _recorded_at.clear()
    _recorded_at[key] = now
    if STARTED_KEY not in session:  # of a version without limits
        session[STARTED_KEY] = int(time.time())
    agent = request.headers.get("User-Agent", "").replace("\x00", "")[:MAX_USER_AGENT_LENGTH]
    ip_address = valid_ip_address(request.META.get("REMOTE_ADDR"))
    return Activity(key, int(user_id), session.started_at(), session.get_expiry_date(), ip_address, agent)


def write_activity(activity: Activity, *, now: datetime) -> None:
    """Extend the session until `expires_at`, and store the activity. Does nothing if the session has ended."""
    session = Session.objects.filter(session_key=activity.session_key, expire_date__gt=now)
    known = UserSession.objects.filter(session_key=activity.session_key).first()
    expires_at = min(activity.expires_at, known.created_at + settings.SESSION_MAX_AGE) if known else activity.expires_at
    if not session.update(expire_date=expires_at):
        return
    last = {"last_seen_at": now, "ip_address": activity.ip_address, "user_agent": activity.user_agent}
    first = {"user_id": activity.user_id, "created_at": activity.started_at}
    UserSession.objects.update_or_create(session_key=activity.session_key, defaults=last, create_defaults=last | first)


def sessions_of(user: User, *, now: datetime) -> QuerySet[UserSession]:
    """Return the user's open sessions, the last used first."""
    open_sessions = Session.objects.filter(expire_date__gt=now).values("session_key")
    return UserSession.objects.filter(user=user, session_key__in=open_sessions).order_by("-last_seen_at", "-pk")


def end_session(user: User, pk: int) -> bool:
    """End one of the user's sessions. Return False if there is none with this primary key."""
    row = UserSession.objects.filter(user=user, pk=pk).first()
    if row is None:
        return False
    Session.objects.filter(session_key=row.session_key).delete()  # with signals, which close open sockets
    row.delete()
    sessions_ended.send(sender=UserSession, user=user)
    return True


def end_all_sessions(user: User) -> None:
    """End all sessions of the user, including those of earlier versions of Mailrail, which are not in the list."""
    user.session_version = F("session_version") + 1  # computed by the database, so no other change is lost
    user.save(update_fields=["session_version"])
    user.refresh_from_db(fields=["session_version"])
    keys = list(UserSession.objects.filter(user=user).values_list("session_key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    UserSession.objects.filter(user=user).delete()
    sessions_ended.send(sender=UserSession, user=user)


@receiver(user_logged_in)
def _on_login(request: HttpRequest | None, **_kwargs: object) -> None:
    if request is None:
        return
    request.session[STARTED_KEY] = int(time.time())
    mark_recent(request)
