"""The Django app."""

from django.apps import AppConfig


class TransportsConfig(AppConfig):
    """Registers `project.transports`."""

    name = "project.transports"
    verbose_name = "Mailbox"
    default_auto_field = "django.db.models.BigAutoField"
