"""Django app configuration."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Registers `project.accounts`."""

    name = "project.accounts"
    default_auto_field = "django.db.models.BigAutoField"
