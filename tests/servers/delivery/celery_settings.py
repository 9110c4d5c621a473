"""Settings of Mailrail with other times, for the tests of Celery: POLL_SECONDS and VISIBILITY_TIMEOUT."""

import os

from project.config import celery_settings

celery_settings.UNWOKEN_POLL_SECONDS = float(os.environ.get("POLL_SECONDS", "3600"))

from project.settings import *  # noqa: E402, F403

CELERY_BROKER_TRANSPORT_OPTIONS = {
    "health_check_interval": 1,
    "visibility_timeout": int(os.environ.get("VISIBILITY_TIMEOUT", "3600")),
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
