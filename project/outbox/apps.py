"""The Django app."""

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """Named after its package."""

    name = "project.outbox"
    default_auto_field = "django.db.models.BigAutoField"
