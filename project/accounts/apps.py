"""The Django app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Named after its package."""

    name = "project.accounts"
    default_auto_field = "django.db.models.BigAutoField"
