"""Deletes data past its retention period: the audit trail (`AUDIT_RETENTION_DAYS`), failed logins, sessions."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from project.accounts.login_counters import delete_expired_counters
from project.accounts.sessions import delete_ended_sessions
from project.audit.models import AuditEvent
from project.bridge.database.transactions import run_in_transaction

logger = logging.getLogger(__name__)

PRUNE_INTERVAL_SECONDS = 3600.0
BATCH_SIZE = 1000  # rows deleted in one transaction


class RetentionPruner:
    """Prunes once an hour. Create one pruner per application. The application's lifespan uses `running`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Prune once an hour while this context is open."""
        task = asyncio.create_task(self._prune_loop())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _prune_loop(self) -> None:
        while True:
            try:
                await prune()
            except Exception:
                logger.exception("Old audit entries could not be deleted; trying again in %g s", PRUNE_INTERVAL_SECONDS)
            await asyncio.sleep(PRUNE_INTERVAL_SECONDS)


async def prune() -> None:
    """Delete everything that is past its retention period, batch by batch."""
    while await run_in_transaction(delete_expired_audit_events, now=timezone.now()):
        pass
    while await run_in_transaction(delete_expired_counters, now=timezone.now(), batch_size=BATCH_SIZE):
        pass
    while await run_in_transaction(delete_ended_sessions, now=timezone.now(), batch_size=BATCH_SIZE):
        pass


def delete_expired_audit_events(*, now: datetime) -> bool:
    """Delete one batch of expired audit entries, the oldest first. Return whether more may be left."""
    if not settings.AUDIT_RETENTION_DAYS:
        return False
    expired = AuditEvent.objects.filter(created_at__lt=now - timedelta(days=settings.AUDIT_RETENTION_DAYS)).order_by("created_at")
    deleted, _ = AuditEvent.objects.filter(pk__in=list(expired.values_list("pk", flat=True)[:BATCH_SIZE])).delete()
    return deleted == BATCH_SIZE
