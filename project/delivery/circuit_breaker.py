"""Circuit breaker for the relay: while the relay is unavailable, emails wait and use up no attempts.

Closed: all emails are sent. Open: no email is sent, for a pause that doubles with each failure. Half-open, after the pause: one
email is sent as a probe, and its result closes or reopens the breaker.
"""

from datetime import datetime

from project.delivery.models import RelayOutage
from project.delivery.retry_policy import MAX_PAUSE, pause_after


class CircuitBreaker:
    """The state of one worker's breaker, in memory."""

    def __init__(self) -> None:
        self.failures = 0  # consecutive failures of the relay itself, not of single emails
        self.next_probe_at: datetime | None = None
        self.error = ""

    def record_failure(self, error: str, *, now: datetime) -> bool:
        """Open the breaker, or after a failed probe open it again for longer. Return whether the state changed."""
        if self._is_open(now):
            return False  # the attempt was in flight when the breaker opened
        self.failures += 1
        self.next_probe_at, self.error = pause_after(self.failures, now=now), error
        return True

    def record_success(self) -> bool:
        """Close the breaker. Return whether the state changed."""
        was_closed, self.failures, self.next_probe_at = self.failures == 0, 0, None
        return not was_closed

    def capacity(self, limit: int, *, in_flight: int, now: datetime) -> int:
        """Return how many emails may be claimed: 0 while open; at most 1 when half-open (a probe); otherwise `limit`."""
        if self._is_open(now):
            return 0
        return max(0, 1 - in_flight) if self.failures else limit

    def _is_open(self, now: datetime) -> bool:
        # If the pause would last longer than `MAX_PAUSE`, the clock was set back, and the pause counts as over.
        return self.next_probe_at is not None and now < self.next_probe_at <= now + MAX_PAUSE


def save_outage(worker: str, breaker: CircuitBreaker, *, now: datetime) -> None:
    """Store, for the dashboard, whether this worker's breaker is open."""
    if breaker.next_probe_at is None:
        RelayOutage.objects.filter(worker=worker).delete()
        return
    state = {"next_probe_at": breaker.next_probe_at, "failures": breaker.failures, "error": breaker.error}
    RelayOutage.objects.update_or_create(worker=worker, defaults=state, create_defaults={"started_at": now, **state})
