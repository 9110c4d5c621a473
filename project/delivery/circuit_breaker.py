"""Circuit breaker for the relay: while the relay is unavailable, emails wait and use up no attempts.

Closed: all emails are sent. Open: no email is sent, for a pause that doubles with each failure. Half-open, after the pause: one
email is sent as a probe, and its result closes or reopens the breaker.

The breaker opens when no connection to the relay can be opened. It also opens when many different emails in a row fail for a
reason that may be the relay's, such as a 421 to every MAIL. These failures count for the emails too, and after the pause as many
different emails are tried again, so emails that cause their failures themselves hold up no others for long (decision 0024).
"""

from collections.abc import Collection, Hashable
from datetime import datetime, timedelta

from django.db.models import Count

from project.delivery.models import RelayOutage
from project.delivery.retry_policy import MAX_PAUSE, pause_after
from project.events.log import wake_worker_on_commit
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind

MIN_SUSPECTED_EMAILS = 40  # different emails in a row; one caller's bad batch of this size should not pause all others
MAX_SUSPECTED_PAUSE = timedelta(seconds=10)  # short, because the relay may work for other emails


class CircuitBreaker:
    """The state of one worker's breaker, in memory."""

    def __init__(self, *, max_suspected: int = MIN_SUSPECTED_EMAILS) -> None:
        """Create a closed breaker. It opens after suspected failures of `max_suspected` different emails in a row."""
        self.failures = 0  # consecutive failures of the relay itself, not of single emails
        self.next_probe_at: datetime | None = None
        self.error = ""
        self._max_suspected = max_suspected
        self._suspected: set[Hashable] = set()  # emails that failed in a row for a reason that may be the relay's
        self._is_reachable = True  # False while the relay itself fails: then one email is enough to probe it

    @property
    def is_closed(self) -> bool:
        """Return whether no failure is recorded, not even a suspected one."""
        return not self.failures and not self._suspected

    def record_failure(self, error: str, *, now: datetime) -> bool:
        """Open the breaker, or after a failed probe open it again for longer. Return whether the state changed."""
        self._is_reachable = False
        return self._open(error, now=now, maximum=MAX_PAUSE)

    def record_suspected_failure(self, email_id: Hashable, error: str, *, now: datetime) -> bool:
        """Record a failure of one email that the relay may have caused. Return whether the state changed.

        Opens the breaker after many different emails in a row, and after a probe of a relay that was unreachable before.
        """
        self._suspected.add(email_id)
        if self._is_reachable and len(self._suspected) < self._max_suspected:
            return False
        if changed := self._open(error, now=now, maximum=MAX_SUSPECTED_PAUSE):
            self._is_reachable = True
            self._suspected.clear()
        return changed

    def record_success(self) -> bool:
        """Close the breaker. Return whether the state changed."""
        was_closed, self.failures, self.next_probe_at, self._is_reachable = self.failures == 0, 0, None, True
        self._suspected.clear()
        return not was_closed

    def capacity(self, limit: int, *, in_flight: int, now: datetime) -> int:
        """Return how many emails may be claimed: 0 while open; at most 1 to probe an unreachable relay; otherwise `limit`."""
        if self._is_open(now):
            return 0
        return limit if self._is_reachable else max(0, 1 - in_flight)

    def probe_by(self, at: datetime | None) -> None:
        """Probe the relay at `at` if that is earlier than planned."""
        if at is not None and self.next_probe_at is not None:
            self.next_probe_at = min(self.next_probe_at, at)

    def _open(self, error: str, *, now: datetime, maximum: timedelta) -> bool:
        if self._is_open(now):
            return False  # the attempt was in flight when the breaker opened
        self.failures += 1
        self.next_probe_at, self.error = min(pause_after(self.failures, now=now), now + maximum), error
        return True

    def _is_open(self, now: datetime) -> bool:
        # If the pause would last longer than `MAX_PAUSE`, the clock was set back, and the pause counts as over.
        return self.next_probe_at is not None and now < self.next_probe_at <= now + MAX_PAUSE


def update_breaker(breaker: CircuitBreaker, email_id: Hashable, result: SendResult, *, now: datetime) -> bool:
    """Record the result of an email, and return whether the breaker's state changed.

    Any reply about the email or about one of its recipients shows that the relay works.
    """
    if result.error and result.failure_kind == FailureKind.RELAY_UNAVAILABLE:
        return breaker.record_failure(result.error, now=now)
    if result.may_be_relay_error:
        return breaker.record_suspected_failure(email_id, result.error, now=now)
    return breaker.record_success()


def save_outage(worker: str, relay: str, breaker: CircuitBreaker, *, now: datetime) -> None:
    """Store, for the dashboard, whether this worker's breaker of a relay is open."""
    if breaker.next_probe_at is None:
        RelayOutage.objects.filter(worker=worker, relay=relay).delete()
        return
    state = {"next_probe_at": breaker.next_probe_at, "failures": breaker.failures, "error": breaker.error}
    RelayOutage.objects.update_or_create(worker=worker, relay=relay, defaults=state, create_defaults={"started_at": now, **state})


def request_probe(relays: Collection[str] | None = None, *, now: datetime) -> int:
    """Let all workers that pass over these relays, or any relay, probe them now. Return the number of such outages.

    Each worker, in whichever process, reads its rows when it is woken, and at the latest at its next poll.
    """
    outages = RelayOutage.objects.filter(next_probe_at__gt=now)
    if relays is not None:
        outages = outages.filter(relay__in=relays)
    paused = outages.update(next_probe_at=now)
    if paused:
        wake_worker_on_commit()
    return paused


def requested_probe(worker: str, relay: str) -> datetime | None:
    """Return when the worker is to probe the relay, according to its row, or None without a row."""
    return RelayOutage.objects.filter(worker=worker, relay=relay).values_list("next_probe_at", flat=True).first()


def is_delivery_paused(number_of_relays: int) -> bool:
    """Return whether any worker finds all of its relays unavailable."""
    counts = RelayOutage.objects.values("worker").annotate(relays=Count("id"))
    return counts.filter(relays__gte=number_of_relays).exists()
