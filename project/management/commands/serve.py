"""`python manage.py serve [--prepare] [Daphne's options]`: Daphne with the bridge's server class."""

import argparse
import signal
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.bridge.server.connection_limits import ConnectionLimits
from project.bridge.server.lifespan import StartupFailed
from project.config.database_schema import has_pending_migrations, refuse_incompatible_database, startup_connection
from project.transports.factory import CHECK_TAG

APPLICATION = "project.asgi:application"
BANNER = """Mailrail:
  {url}/          landing page
  {url}/admin/    admin
  {url}/api/docs  API documentation"""
EXIT_CODE_SIGINT = 128 + signal.SIGINT  # as in a shell
PREPARE_OPTION = "--prepare"  # runs the command `prepare` first, in this process: twice as fast as two processes


class Command(BaseCommand):
    """Serves until SIGTERM or Ctrl-C."""

    help = "Serve Django and FastAPI with Daphne. Accepts --prepare and Daphne's own options: see `daphne --help`."
    requires_system_checks = (CHECK_TAG,)  # all checks take longer than the start; `prepare` and `check` run them

    def run_from_argv(self, argv: list[str]) -> None:
        """Leave the options to Daphne's parser, instead of Django's."""
        super().run_from_argv([*argv[:2], "--", *argv[2:]])

    def add_arguments(self, parser: CommandParser) -> None:
        """Add Daphne's options, as one argument that is parsed later."""
        parser.add_argument("daphne", nargs="*", help="Daphne's options, such as -b 0.0.0.0 -p 80")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Daphne on HOST and PORT, unless its options name another endpoint."""
        from project.bridge.server.daphne_server import DaphneCommandLine  # imports the reactor: too early for the other commands

        arguments = [option for option in options["daphne"] if option != PREPARE_OPTION]
        if PREPARE_OPTION in options["daphne"]:
            call_command("prepare", stdout=self.stdout)
        if settings.ENV.delivery_worker is None:
            settings.DELIVERY_WORKER = "subprocess"  # must be set before the application is imported
        daphne = DaphneCommandLine(shutdown_grace=settings.SHUTDOWN_GRACE, limits=_limits())
        address = _address(daphne.parser.parse_args([*arguments, APPLICATION]))
        with startup_connection():
            refuse_incompatible_database()
            if has_pending_migrations():
                raise CommandError(
                    f"The database is not prepared for this version: run `manage.py prepare`, or use `serve {PREPARE_OPTION}`."
                )
        if address is not None:
            host, port = address
            arguments += ["-b", host, "-p", str(port)]
            self.stdout.write(BANNER.format(url=f"http://{host}:{port}"))
            self.stdout.flush()
        try:
            daphne.run([*arguments, APPLICATION])
        except StartupFailed as error:
            raise CommandError(f"The application did not start: {error}") from None
        except KeyboardInterrupt:  # before the server handles signals
            raise SystemExit(EXIT_CODE_SIGINT) from None


def _limits() -> ConnectionLimits:
    env = settings.ENV
    return ConnectionLimits(
        max_body_bytes=env.max_request_bytes,
        messages_per_second=env.websocket_messages_per_second,
        body_timeout=env.request_body_timeout,
        write_timeout=env.client_write_timeout,
    )


def _address(daphne_options: argparse.Namespace) -> tuple[str, int] | None:
    """Return the host and port to listen on, HOST and PORT by default; None if only another kind of socket is requested."""
    other = daphne_options.unix_socket or daphne_options.socket_strings or daphne_options.file_descriptor is not None
    if other and daphne_options.host is None and daphne_options.port is None:
        return None
    host, port = daphne_options.host, daphne_options.port
    return host or settings.ENV.host, settings.ENV.port if port is None else port
