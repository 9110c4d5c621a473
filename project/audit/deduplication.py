"""Deduplicates repeated rejections within a minute, so that a flood of rejections does not fill the table. Thread-safe."""

import math
from threading import Lock

WINDOW_SECONDS = 60.0
MAX_TRACKED = 100  # distinct pairs of actor and reason in a window


class RecentEvents:
    """The rejections of the last minute. `now` is a monotonic time in seconds."""

    def __init__(self) -> None:
        self._seen_at: dict[tuple[str, str], float] = {}
        self._lock = Lock()

    def is_new(self, actor: str, reason: str, *, now: float) -> bool:
        """Return whether this pair of actor and reason was not seen within the window, and remember the pair."""
        with self._lock:
            if now < self._seen_at.get((actor, reason), -math.inf) + WINDOW_SECONDS:
                return False
            self._seen_at[actor, reason] = now
            return True

    def has_capacity(self, now: float) -> bool:
        """Return whether fewer than `MAX_TRACKED` pairs were seen within the window, so that another actor can be tracked."""
        with self._lock:
            if len(self._seen_at) >= MAX_TRACKED:
                self._seen_at = {key: at for key, at in self._seen_at.items() if now < at + WINDOW_SECONDS}
            return len(self._seen_at) < MAX_TRACKED
