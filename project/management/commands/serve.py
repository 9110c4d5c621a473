"""`python manage.py serve [--prepare] [Daphne's own options]`: Daphne, with the bridge's server class."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.bridge.lifespan import StartupFailed

PREPARE = "--prepare"  # run the command of that name first: in one process, the start takes half the time


class Command(BaseCommand):
    """Serves until SIGTERM or Ctrl-C."""

    help = "Serve Django and FastAPI with Daphne. Takes Daphne's own options: see `daphne --help`."
    requires_system_checks = ()  # they take longer than the start; `prepare` and `check` run them

    def run_from_argv(self, argv: list[str]) -> None:
        """Leave every option but ours to Daphne's own parser."""
        super().run_from_argv([*argv[:2], "--", *argv[2:]])

    def add_arguments(self, parser: CommandParser) -> None:
        """One: what Daphne is told."""
        parser.add_argument("daphne", nargs="*", help="Daphne's options, such as -b 0.0.0.0 -p 80")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Daphne on HOST and PORT, unless told another endpoint."""
        from project.bridge.server import CommandLine

        given = [option for option in options["daphne"] if option != PREPARE]
        if PREPARE in options["daphne"]:
            call_command("prepare", stdout=self.stdout)
        host, port = settings.ENV.host, settings.ENV.port
        endpoint = [] if _names_endpoint(given) else ["-b", host, "-p", str(port)]
        if endpoint:
            self.stdout.write(f"Mailrail is at http://{host}:{port}/\n  back office  /admin/\n  API          /api/docs")
            self.stdout.flush()
        try:
            CommandLine(shutdown_grace=settings.SHUTDOWN_GRACE).run([*endpoint, *given, "project.asgi:application"])
        except StartupFailed as error:
            raise CommandError(f"The application did not start: {error}") from None


def _names_endpoint(arguments: list[str]) -> bool:
    flags = ("-b", "--bind", "-p", "--port", "-u", "--unix-socket", "--fd", "-e", "--endpoint")
    return any(argument.startswith(flags) for argument in arguments)
