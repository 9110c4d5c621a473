"""The Django half of Mailrail."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return the Celery application as `celery_app`, where Celery looks for it. It is imported only when it is used."""
    if name == "celery_app":
        from project.celery import app  # imported here, because only DELIVERY_WORKER=celery needs Celery

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
