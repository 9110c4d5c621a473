"""Celery task of delivery. Its message is empty: the rows say what to deliver."""

from celery import shared_task

from project.config.celery_settings import WAKE_EXPIRES_SECONDS, WAKE_TASK
from project.delivery.celery_worker import deliver_due


@shared_task(name=WAKE_TASK, expires=WAKE_EXPIRES_SECONDS)  # type: ignore[untyped-decorator]
def wake() -> str:
    """Deliver what is due, for a limited time. Return the result that Flower shows."""
    return f"{deliver_due()} emails"
