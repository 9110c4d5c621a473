"""The sweep of the queue: once a minute, fail emails that are too old, repair due times, complete search rows, count emails."""

import math
import time
from collections import deque
from collections.abc import Callable

from django.utils import timezone

from project.bridge.database.transactions import run_in_transaction
from project.delivery.expiry import expire_emails, repair_due_times
from project.emails.search_rows import complete_search_rows
from project.emails.word_rows import WordCompletion
from project.statistics.email_counts import sweep_counts

QUEUE_SWEEP_INTERVAL_SECONDS = 60.0
MAX_SWEEP_ROUNDS = 1000  # transactions of one step in one sweep; each changes a limited number of emails
STEPS: tuple[Callable[..., int], ...] = (expire_emails, repair_due_times, complete_search_rows, sweep_counts)


class QueueSweep:
    """Sweeps the queue for one delivery loop. A sweep may take minutes, so the loop claims emails between its transactions."""

    def __init__(self) -> None:
        """Create a sweep that is due."""
        self._steps: deque[Callable[..., int]] = deque()
        self._rounds = 0  # of the current step
        self._swept_at = -math.inf
        self._complete_words = WordCompletion()

    @property
    def is_unfinished(self) -> bool:
        """Return whether a sweep has begun and not ended, so that `run_if_due` has more to do."""
        return bool(self._steps)

    async def run_if_due(self) -> None:
        """Begin a sweep if the last one is long enough ago, or continue it. Returns after a transaction that changed emails."""
        if not self._steps:
            if time.monotonic() < self._swept_at + QUEUE_SWEEP_INTERVAL_SECONDS:
                return
            self._steps.extend([*STEPS, self._complete_words])
        while self._steps:
            changed = await run_in_transaction(self._steps[0], now=timezone.now())
            self._rounds += 1
            if changed and self._rounds < MAX_SWEEP_ROUNDS:
                return
            self._steps.popleft()
            self._rounds = 0
        self._swept_at = time.monotonic()
