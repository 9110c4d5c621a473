"""Lease times: how long a claim lasts, how often it is renewed, and after which silence a worker counts as stopped."""

from dataclasses import dataclass
from datetime import timedelta

LEASE = timedelta(minutes=5)
RENEWALS_PER_LEASE = 60
MIN_RENEWAL_SECONDS = 0.25  # only for the short leases of tests
MISSED_BEATS = 6  # a worker without a new heartbeat for this many intervals counts as stopped
MISSED_RENEWALS = 3  # a worker that could not renew for this many intervals checks its claims first; less than `MISSED_BEATS`


@dataclass(frozen=True)
class LeaseTiming:
    """All times that follow from the duration of a lease."""

    duration: timedelta = LEASE

    @property
    def renewal_seconds(self) -> float:
        """Return the seconds between two heartbeats, which are also the seconds between two renewals."""
        return max(MIN_RENEWAL_SECONDS, self.duration.total_seconds() / RENEWALS_PER_LEASE)

    @property
    def silence_seconds(self) -> float:
        """Return after how many seconds without a new heartbeat a worker counts as stopped."""
        return MISSED_BEATS * self.renewal_seconds

    @property
    def verify_seconds(self) -> float:
        """Return after how many seconds without a renewal a worker must check its claims before it sends another email."""
        return MISSED_RENEWALS * self.renewal_seconds


DEFAULT_TIMING = LeaseTiming()
