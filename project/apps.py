"""The Django app that holds the commands and the checks."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Named after its package."""

    name = "project"

    def ready(self) -> None:
        """Register the checks."""
        from project import checks  # noqa: F401  # needs the settings, and is needed for what it registers
