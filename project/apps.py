"""The Django app that holds the commands, the checks and the receivers of `project.auth`."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Registers `project`."""

    name = "project"

    def ready(self) -> None:
        """Register the checks and the receivers."""
        from project import checks  # noqa: F401  # imported for its registrations, once the settings are loaded
        from project.auth import credential_changes  # noqa: F401  # likewise, once the models are loaded
