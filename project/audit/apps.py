"""The Django app."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Named after its package."""

    name = "project.audit"
    verbose_name = "Audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Listen from the start."""
        from project.audit import signals  # noqa: F401  # needs the models, and is needed for what it does
