"""What an engine does about a relay that does not work: it pauses, longer each time, and then sends one mail to see."""

from datetime import datetime

from project.outbox.models import Pause
from project.outbox.outcomes import Outcome
from project.outbox.retry import LONGEST_PAUSE, Fault, pause_after


class Patience:
    """How it stands between an engine and its relay."""

    def __init__(self) -> None:
        self.failures = 0  # in a row: the relay itself was wrong, not a mail
        self.until: datetime | None = None
        self.error = ""

    def hear(self, outcome: Outcome, *, now: datetime) -> bool:
        """Learn from what became of a mail. Gives whether that changed anything."""
        if outcome.error and outcome.fault == Fault.RELAY:
            if self._lasts(now):
                return False  # it was in hand when the pause began
            self.failures += 1
            self.until, self.error = pause_after(self.failures, now=now), outcome.error
            return True
        was_paused, self.failures, self.until = self.failures > 0, 0, None
        return was_paused

    def room(self, wanted: int, *, in_hand: int, now: datetime) -> int:
        """How many mails may be claimed, if `wanted` are: none while the relay is given a pause, and after it one, to see."""
        if self._lasts(now):
            return 0
        return max(0, 1 - in_hand) if self.failures else wanted

    def _lasts(self, now: datetime) -> bool:
        # One that would last longer than any does is over: the clock was set back.
        return self.until is not None and now < self.until <= now + LONGEST_PAUSE


def note_pause(engine: str, patience: Patience, *, now: datetime) -> None:
    """Write down, for people to see, whether this engine pauses."""
    if patience.until is None:
        Pause.objects.filter(engine=engine).delete()
        return
    told = {"until": patience.until, "failures": patience.failures, "error": patience.error}
    Pause.objects.update_or_create(engine=engine, defaults=told, create_defaults={"since": now, **told})
