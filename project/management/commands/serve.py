"""`python manage.py serve [--prepare] [Daphne's own options]`: Daphne, with the bridge's server class."""

import argparse
import signal
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from project.bridge.server.lifespan import StartupFailed
from project.transports.factory import CHECK_TAG

APPLICATION = "project.asgi:application"
BANNER = """Mailrail:
  {url}/          what it is
  {url}/admin/    the back office
  {url}/api/docs  the API"""
EXIT_CODE_SIGINT = 128 + signal.SIGINT  # as shells have it
PREPARE_OPTION = "--prepare"  # run the command of that name first: in one process, the start takes half the time


class Command(BaseCommand):
    """Serves until SIGTERM or Ctrl-C."""

    help = "Serve Django and FastAPI with Daphne. Takes Daphne's own options: see `daphne --help`."
    requires_system_checks = (CHECK_TAG,)  # all of them take longer than the start; `prepare` and `check` run them

    def run_from_argv(self, argv: list[str]) -> None:
        """Leave every option but ours to Daphne's own parser."""
        super().run_from_argv([*argv[:2], "--", *argv[2:]])

    def add_arguments(self, parser: CommandParser) -> None:
        """One: what Daphne is told."""
        parser.add_argument("daphne", nargs="*", help="Daphne's options, such as -b 0.0.0.0 -p 80")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Daphne on HOST and PORT, unless told another endpoint."""
        from project.bridge.server.connection_limits import ConnectionLimits
        from project.bridge.server.daphne_server import DaphneCommandLine

        given = [option for option in options["daphne"] if option != PREPARE_OPTION]
        if PREPARE_OPTION in options["daphne"]:
            call_command("prepare", stdout=self.stdout)
        env = settings.ENV
        if env.delivery_worker is None:
            settings.DELIVERY_WORKER = "subprocess"  # before the application is imported
        limits = ConnectionLimits(
            body=env.max_request_bytes,
            messages=env.websocket_messages_per_second,
            body_timeout=env.request_body_timeout,
            send_timeout=env.client_write_timeout,
        )
        daphne = DaphneCommandLine(shutdown_grace=settings.SHUTDOWN_GRACE, limits=limits)
        address = _address(daphne.parser.parse_args([*given, APPLICATION]))
        if _is_unprepared():
            raise CommandError(
                f"The database is not made for this version: `manage.py prepare` does it, or `serve {PREPARE_OPTION}`."
            )
        if address is not None:
            host, port = address
            given += ["-b", host, "-p", str(port)]
            self.stdout.write(BANNER.format(url=f"http://{host}:{port}"))
            self.stdout.flush()
        try:
            daphne.run([*given, APPLICATION])
        except StartupFailed as error:
            raise CommandError(f"The application did not start: {error}") from None
        except KeyboardInterrupt:  # before the server heeds signals
            raise SystemExit(EXIT_CODE_SIGINT) from None


def _is_unprepared() -> bool:
    """Whether migrations are missing. A database that is away may come later: readiness tells of it."""
    try:
        executor = MigrationExecutor(connection)
        return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except OperationalError:
        return False
    finally:
        connection.close()


def _address(asked: argparse.Namespace) -> tuple[str, int] | None:
    """Where to listen, HOST and PORT unless told otherwise; None if a socket of another kind was asked for instead."""
    other = asked.unix_socket or asked.socket_strings or asked.file_descriptor is not None
    if other and asked.host is None and asked.port is None:
        return None
    return asked.host or settings.ENV.host, settings.ENV.port if asked.port is None else asked.port
