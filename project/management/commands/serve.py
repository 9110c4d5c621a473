"""`python manage.py serve [--prepare] [Daphne's own options]`: Daphne, with the bridge's server class."""

import argparse
import signal
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from project.bridge.lifespan import StartupFailed
from project.checks import TRANSPORT

APPLICATION = "project.asgi:application"
ADDRESSES = """Mailrail:
  {url}/          what it is
  {url}/admin/    the back office
  {url}/api/docs  the API"""
INTERRUPTED = 128 + signal.SIGINT  # as shells have it
PREPARE = "--prepare"  # run the command of that name first: in one process, the start takes half the time


class Command(BaseCommand):
    """Serves until SIGTERM or Ctrl-C."""

    help = "Serve Django and FastAPI with Daphne. Takes Daphne's own options: see `daphne --help`."
    requires_system_checks = (TRANSPORT,)  # all of them take longer than the start; `prepare` and `check` run them

    def run_from_argv(self, argv: list[str]) -> None:
        """Leave every option but ours to Daphne's own parser."""
        super().run_from_argv([*argv[:2], "--", *argv[2:]])

    def add_arguments(self, parser: CommandParser) -> None:
        """One: what Daphne is told."""
        parser.add_argument("daphne", nargs="*", help="Daphne's options, such as -b 0.0.0.0 -p 80")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Daphne on HOST and PORT, unless told another endpoint."""
        from project.bridge.limits import Limits
        from project.bridge.server import CommandLine

        given = [option for option in options["daphne"] if option != PREPARE]
        if PREPARE in options["daphne"]:
            call_command("prepare", stdout=self.stdout)
        env = settings.ENV
        if env.deliver is None:
            settings.DELIVER = "apart"  # before the application is imported
        limits = Limits(
            body=env.body_limit,
            messages=env.socket_messages,
            body_timeout=env.body_timeout,
            send_timeout=env.send_timeout,
        )
        daphne = CommandLine(shutdown_grace=settings.SHUTDOWN_GRACE, limits=limits)
        address = _address(daphne.parser.parse_args([*given, APPLICATION]))
        if _is_unprepared():
            raise CommandError(f"The database is not made for this version: `manage.py prepare` does it, or `serve {PREPARE}`.")
        if address is not None:
            host, port = address
            given += ["-b", host, "-p", str(port)]
            self.stdout.write(ADDRESSES.format(url=f"http://{host}:{port}"))
            self.stdout.flush()
        try:
            daphne.run([*given, APPLICATION])
        except StartupFailed as error:
            raise CommandError(f"The application did not start: {error}") from None
        except KeyboardInterrupt:  # before the server heeds signals
            raise SystemExit(INTERRUPTED) from None


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
