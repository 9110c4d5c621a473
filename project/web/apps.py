"""The Django app."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Registers `project.web`."""

    name = "project.web"
    verbose_name = "Web pages"
    default_auto_field = "django.db.models.BigAutoField"
