"""Django app configuration."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Registers `project.audit`."""

    name = "project.audit"
    verbose_name = "Audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the signal receivers."""
        from project.audit import signals  # noqa: F401  # imported for its receivers, once the models are loaded
