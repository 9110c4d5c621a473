"""Django app configuration."""

from django.apps import AppConfig, apps


class AccountsConfig(AppConfig):
    """Registers `project.accounts`."""

    name = "project.accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Set readable names for django-otp's apps, which the admin shows."""
        apps.get_app_config("otp_totp").verbose_name = "Authenticator apps"
        apps.get_app_config("otp_static").verbose_name = "Recovery codes"
