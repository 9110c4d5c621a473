"""Django's settings for sending email: `MAILERS` since Django 6.1, and the `EMAIL_` settings before."""

from typing import Any

import django

from project.config.email_url import Relay

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
DJANGO_HAS_MAILERS = django.VERSION >= (6, 1)
# The options of Django's SMTP backend, with the setting that each had before Django 6.1.
_SETTINGS = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "use_tls": "EMAIL_USE_TLS",
    "use_ssl": "EMAIL_USE_SSL",
    "timeout": "EMAIL_TIMEOUT",
}


def mailers(backend: str, relay: Relay | None) -> dict[str, dict[str, Any]]:
    """Return the setting `MAILERS`, which Mailrail itself reads with every version of Django.

    Only Django's own SMTP backend has the relay's options, because another backend may refuse them.
    """
    options = smtp_options(relay) if relay is not None and backend == SMTP_BACKEND else {}
    return {"default": {"BACKEND": backend, "OPTIONS": options}}


def smtp_options(relay: Relay) -> dict[str, Any]:
    """Return the options with which Django's SMTP backend sends through a relay."""
    return {
        "host": relay.host,
        "port": relay.port,
        "username": relay.username,
        "password": relay.password,
        "use_tls": relay.starttls,
        "use_ssl": relay.implicit_tls,
        "timeout": relay.timeout,
    }


def settings_before_mailers(backend: str, relay: Relay | None) -> dict[str, Any]:
    """Return the `EMAIL_` settings for a Django without `MAILERS`. Django 6.1 refuses both kinds together."""
    if DJANGO_HAS_MAILERS:
        return {}
    options = {} if relay is None else smtp_options(relay)
    return {"EMAIL_BACKEND": backend, **{_SETTINGS[name]: value for name, value in options.items()}}
