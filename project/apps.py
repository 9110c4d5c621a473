"""Django app for the management commands, the system checks and the signal receivers of `project.auth`."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Registers `project`."""

    name = "project"

    def ready(self) -> None:
        """Register the system checks and the signal receivers."""
        from project import checks  # noqa: F401  # imported here, because the checks need the settings
        from project.auth import credential_changes  # noqa: F401  # imported here, because the receivers need the models
