"""Configures the email backend of a test, with every supported version of Django."""

from collections.abc import Sequence
from typing import Any

from django.core.mail import EmailMessage
from django.utils.module_loading import import_string
from pytest_django import Settings

from project.config.mailers import DJANGO_HAS_MAILERS


def use_backend(settings: Settings, path: str, **options: Any) -> None:
    """Let Mailrail send through an email backend with these options, and Django its own emails through the same backend."""
    settings.MAILERS = {"default": {"BACKEND": path, "OPTIONS": options}}
    if not DJANGO_HAS_MAILERS:
        settings.EMAIL_BACKEND = path


def send_through(path: str, messages: Sequence[EmailMessage], **options: Any) -> int | None:
    """Send messages through a new instance of an email backend, and return the number that the backend returns."""
    alias = {"alias": "default"} if DJANGO_HAS_MAILERS else {}
    count: int | None = import_string(path)(**alias, **options).send_messages(messages)
    return count
