"""Celery's settings that follow from the broker's URL, and the schedule of Celery beat."""

import ssl
from typing import Any
from urllib.parse import urlsplit

URGENT_QUEUE, BULK_QUEUE = "urgent", "bulk"
QUEUES = (URGENT_QUEUE, BULK_QUEUE)
WAKE_TASK, PRUNE_TASK = "mailrail.wake", "mailrail.prune"
SWEEP_INTERVAL_SECONDS = 5.0  # how late a retry or a scheduled email may be claimed
PRUNE_INTERVAL_SECONDS = 3600.0
UNWOKEN_POLL_SECONDS = 30.0  # after this time without a wake, a delivery worker polls by itself
# Longer than the clocks of two hosts differ, because the worker's clock decides whether a message has expired.
WAKE_EXPIRES_SECONDS = 60.0


def beat_schedule() -> dict[str, dict[str, Any]]:
    """Return what Celery beat publishes. Each entry has one queue, and its messages expire before they pile up."""
    wakes = {
        f"wake-{queue}": {
            "task": WAKE_TASK,
            "schedule": SWEEP_INTERVAL_SECONDS,
            "options": {"queue": queue, "expires": WAKE_EXPIRES_SECONDS},
        }
        for queue in QUEUES
    }
    prune = {
        "task": PRUNE_TASK,
        "schedule": PRUNE_INTERVAL_SECONDS,
        "options": {"queue": BULK_QUEUE, "expires": PRUNE_INTERVAL_SECONDS},
    }
    return {**wakes, "prune": prune}


def broker_tls(url: str | None) -> dict[str, Any] | None:
    """Return the TLS options for a broker with `rediss://` or `amqps://`, or None.

    Without these options, kombu verifies no certificate.
    """
    parts = urlsplit(url or "")
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parts.query:
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    if parts.scheme == "amqps":
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname}
    return None
