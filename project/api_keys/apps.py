"""Django app configuration."""

from django.apps import AppConfig


class ApiKeysConfig(AppConfig):
    """Registers `project.api_keys`."""

    name = "project.api_keys"
    verbose_name = "API keys"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the receivers that clear the key cache."""
        from project.api_keys import cache  # noqa: F401  # imported for its receivers, once the models are loaded
