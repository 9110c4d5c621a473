"""Django app configuration."""

from django.apps import AppConfig


class RetentionConfig(AppConfig):
    """Registers `project.retention`."""

    name = "project.retention"
    verbose_name = "Retention"
    default_auto_field = "django.db.models.BigAutoField"
