"""The sweep of the queue: once a minute, fail emails that are too old, repair due times, and complete search rows."""

import math
import time
from collections.abc import Callable

from django.utils import timezone

from project.bridge.database.transactions import run_in_transaction
from project.delivery.expiry import expire_emails, repair_due_times
from project.emails.search_rows import complete_search_rows

QUEUE_SWEEP_INTERVAL_SECONDS = 60.0
MAX_SWEEP_ROUNDS = 1000  # transactions of one sweep; each changes a limited number of emails


class QueueSweep:
    """Sweeps the queue for one delivery loop."""

    def __init__(self, on_progress: Callable[[], None]) -> None:
        """Create a sweep that is due. `on_progress` is called after each transaction, because a sweep may take minutes."""
        self._on_progress = on_progress
        self._swept_at = -math.inf

    async def run_if_due(self) -> None:
        """Sweep if the last sweep is long enough ago."""
        if time.monotonic() < self._swept_at + QUEUE_SWEEP_INTERVAL_SECONDS:
            return
        for sweep in (expire_emails, repair_due_times, complete_search_rows):
            for _ in range(MAX_SWEEP_ROUNDS):
                changed = await run_in_transaction(sweep, now=timezone.now())
                self._on_progress()
                if not changed:
                    break
        self._swept_at = time.monotonic()
