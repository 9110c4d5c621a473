"""The Django app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Named after its package."""

    name = "project.accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Every process tells of what it changes."""
        from project.accounts import changes  # noqa: F401  # its receivers
