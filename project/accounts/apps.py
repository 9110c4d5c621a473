"""Django app configuration."""

from django.apps import AppConfig, apps


class AccountsConfig(AppConfig):
    """Registers `project.accounts`."""

    name = "project.accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Name the apps of django-otp in the admin: they have no names of their own."""
        apps.get_app_config("otp_totp").verbose_name = "Authenticator apps"
        apps.get_app_config("otp_static").verbose_name = "Recovery codes"
