"""Django app configuration."""

from django.apps import AppConfig


class SuppressionsConfig(AppConfig):
    """Registers `project.suppressions`."""

    name = "project.suppressions"
    verbose_name = "Suppressions"
    default_auto_field = "django.db.models.BigAutoField"
