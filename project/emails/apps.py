"""Django app of the emails package."""

from django.apps import AppConfig


class EmailsConfig(AppConfig):
    """Registers `project.emails`."""

    name = "project.emails"
    verbose_name = "Emails"
    default_auto_field = "django.db.models.BigAutoField"
