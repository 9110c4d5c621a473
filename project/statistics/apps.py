"""Django app configuration."""

from django.apps import AppConfig


class StatisticsConfig(AppConfig):
    """Registers `project.statistics`."""

    name = "project.statistics"
    verbose_name = "Statistics"
    default_auto_field = "django.db.models.BigAutoField"
