"""The refusals of the last minute, so that who is refused again and again fills no table. Pure, and for any thread."""

import math
from threading import Lock

MINUTE = 60.0
MOST = 100  # that are told apart in a minute


class Recent:
    """Who was refused, and why. `now` is in seconds."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], float] = {}
        self._lock = Lock()

    def is_news(self, who: str, why: str, *, now: float) -> bool:
        """Whether this has not been said for a minute; then it has been now."""
        with self._lock:
            if now < self._at.get((who, why), -math.inf) + MINUTE:
                return False
            self._at[who, why] = now
            return True

    def has_room(self, now: float) -> bool:
        """Whether yet another stranger can be told from those of the last minute."""
        with self._lock:
            if len(self._at) >= MOST:
                self._at = {what: at for what, at in self._at.items() if now < at + MINUTE}
            return len(self._at) < MOST
