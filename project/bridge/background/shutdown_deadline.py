"""One deadline for a whole shutdown. The parts of a server stop one after the other, and share one grace period."""

import time


class ShutdownDeadline:
    """Counts the grace period from the first call of `start`, for example when the server stops listening."""

    def __init__(self, grace: float) -> None:
        """Create a deadline that has not started. `grace` is in seconds."""
        self._grace = grace
        self._ends_at: float | None = None  # on the monotonic clock

    def start(self) -> None:
        """Start the grace period, unless it has already started."""
        self.remaining()

    def remaining(self) -> float:
        """Return the seconds that are left, at least 0. Starts the grace period, unless it has already started."""
        now = time.monotonic()
        if self._ends_at is None:
            self._ends_at = now + self._grace
        return max(0.0, self._ends_at - now)


Grace = float | ShutdownDeadline


def seconds_left(grace: Grace) -> float:
    """Return the seconds of a fixed grace period, or those that are left until a deadline."""
    return grace.remaining() if isinstance(grace, ShutdownDeadline) else grace
