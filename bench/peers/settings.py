"""Settings of the peers. They are as durable as Mailrail's (WAL, synchronous=FULL), with the fast options of the manuals."""

import os
from pathlib import Path

DATA = Path(os.environ["DATA_DIR"])

SECRET_KEY = "django-insecure-bench"  # noqa: S105  # not a real secret
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["post_office"]
ROOT_URLCONF = "bench.peers.urls"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "peers.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
EMAIL_BACKEND = "post_office.EmailBackend"
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = int(os.environ.get("RELAY_PORT", "25"))
POST_OFFICE = {
    "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
    "THREADS_PER_PROCESS": 20,
    "BATCH_SIZE": 2000,
    "LOG_LEVEL": 0,
    "MESSAGE_ID_ENABLED": True,
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"post_office": {"handlers": ["console"], "level": "WARNING"}},
}
