"""The Django app of the transports, which owns the table of the embedded mailbox."""

from django.apps import AppConfig


class TransportsConfig(AppConfig):
    """Registers `project.transports`."""

    name = "project.transports"
    verbose_name = "Mailbox"
    default_auto_field = "django.db.models.BigAutoField"
