"""Celery task of retention. Celery beat publishes it (`CELERY_BEAT_SCHEDULE`)."""

import asyncio

from celery import shared_task

from project.config.celery_settings import PRUNE_TASK
from project.retention.pruner import prune


@shared_task(name=PRUNE_TASK)  # type: ignore[untyped-decorator]
def prune_expired_data() -> None:
    """Delete everything that is past its retention period."""
    asyncio.run(prune())
