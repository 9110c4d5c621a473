"""Django apps: one for the management commands, the system checks and the signal receivers of `project.auth`, and Daphne's."""

from django.apps import AppConfig, apps
from django.conf import settings

from project.bridge.database.delete_rules import keep_delete_rules
from project.bridge.database.watchdog import watch_connections
from project.config.error_reports import start_error_reports
from project.config.migration_timeouts import adapt_timeouts_to_migrations
from project.config.traces import start_traces
from project.metrics.resources import observe_bridge


class ProjectConfig(AppConfig):
    """Registers `project`."""

    name = "project"
    default = True

    def ready(self) -> None:
        """Register the system checks, and the signal receivers of authentication, migrations and database connections."""
        first_app = apps.get_app_config("accounts")  # with models
        keep_delete_rules(sender=first_app)  # before the timeouts, which end with the signal
        adapt_timeouts_to_migrations(sender=first_app)
        watch_connections()
        observe_bridge()
        start_traces(settings.ENV.otel_exporter_otlp_endpoint)
        start_error_reports(settings.ENV.sentry_dsn.get_secret_value() if settings.ENV.sentry_dsn else None)
        from project import checks  # noqa: F401  # imported here, because the checks need the settings
        from project.auth import credential_changes  # noqa: F401  # imported here, because the receivers need the models


class DaphneConfig(AppConfig):
    """Registers Daphne's `runserver` command.

    It replaces Daphne's own configuration, which imports Daphne's server. In each other command, that import would take almost a
    third of the CPU time of the start.
    """

    name = "daphne"
