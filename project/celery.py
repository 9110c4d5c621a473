"""The Celery application, for DELIVERY_WORKER=celery: `celery -A project worker` and `celery -A project beat`.

Only these commands, and a server that publishes wakes, import this module: the import of Celery takes a third of a second.
"""

import os
import sys
from typing import Any

from celery import Celery, signals
from django.conf import settings
from kombu import Exchange, Queue

from project.config.celery_settings import BULK_QUEUE, QUEUES, WAKE_EXPIRES_SECONDS
from project.config.metrics_directory import share_metrics_of_celery

share_metrics_of_celery(sys.argv)
os.umask(0o077)  # new files are readable only by their owner; manage.py sets the same umask
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

DEFAULTS = {
    # A wake carries nothing, so losing or repeating it is harmless. It is acknowledged before it runs: a worker that dies
    # leaves rows that other workers take over, not messages.
    "task_acks_late": False,
    "task_ignore_result": True,
    "task_default_delivery_mode": "transient",
    "task_default_queue": BULK_QUEUE,
    "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
    "task_create_missing_queues": False,
    "worker_prefetch_multiplier": 1,
    "accept_content": ["json"],
    # Reconnect for as long as the broker is away. By default, a worker exits after a hundred attempts.
    "broker_connection_max_retries": None,
    "broker_connection_retry_on_startup": True,
    # After a reconnection, Celery would fetch fewer messages until the tasks of before end.
    "worker_enable_prefetch_count_reduction": False,
    "broker_transport_options": {"health_check_interval": 10, "socket_connect_timeout": 5.0, "socket_keepalive": True},
    "worker_redirect_stdouts": False,
    "result_expires": WAKE_EXPIRES_SECONDS,
}


def _defaults() -> dict[str, Any]:
    """Return the defaults that Django's settings do not change. Celery would prefer the defaults to the settings."""
    return {name: value for name, value in DEFAULTS.items() if not hasattr(settings, f"CELERY_{name.upper()}")}


app = Celery("mailrail")
app.add_defaults(_defaults)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["project.delivery", "project.retention"])


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def keep_django_logging(**_kwargs: Any) -> None:
    """Keep Django's logging: it hides email addresses, and LOG_LEVEL applies. A receiver prevents Celery's own configuration."""
