"""Settings with very long poll intervals, so that only notifications wake the event stream, the worker and the revocations.

The environment variable DJANGO_SETTINGS_MODULE passes these settings to all processes of a server.
"""

from django.apps import AppConfig

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS as MAILRAIL_APPS

NEVER_SECONDS = 24 * 60 * 60.0


class NotifyOnlyConfig(AppConfig):
    """App that changes the poll intervals at startup."""

    name = "tests.servers"

    def ready(self) -> None:
        """Change the intervals. The modules can be imported only now, because they load models."""
        from project.auth import credential_changes
        from project.delivery.management.commands import deliver
        from project.events import stream

        stream.POLL_INTERVAL_SECONDS = credential_changes.POLL_INTERVAL_SECONDS = NEVER_SECONDS
        deliver.UNNOTIFIED_POLL_INTERVAL_SECONDS = NEVER_SECONDS
        deliver.POLL_INTERVAL_SECONDS = NEVER_SECONDS  # type: ignore[attr-defined]  # the module imports this name


INSTALLED_APPS = [*MAILRAIL_APPS, "tests.servers.notify_only_settings.NotifyOnlyConfig"]
