"""`python manage.py serve [--prepare] [Daphne's options]`: Daphne with the bridge's server class."""

import argparse
import logging
import signal
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.bridge.middleware.proxy_headers import parse_proxies
from project.bridge.server.access_log import log_access
from project.bridge.server.connection_limits import ConnectionLimits
from project.bridge.server.lifespan import StartupFailed
from project.config.database_schema import check_database_at_startup
from project.delivery.queue_collector import QueueCollector, read_queue_stats_in_thread
from project.metrics.server import serve_metrics
from project.transports.factory import CHECK_TAG

logger = logging.getLogger(__name__)

APPLICATION = "project.asgi:application"
BANNER = """Mailrail:
  {url}/          landing page
  {url}/admin/    admin"""
API_DOCS_BANNER = "  {url}/api/docs  API documentation"
MAX_ANONYMOUS_BODY_BYTES = 64 * 1024
EXIT_CODE_SIGINT = 128 + signal.SIGINT  # the exit code that shells use after Ctrl-C
PREPARE_OPTION = "--prepare"  # runs the command `prepare` first, in this process, because two processes take twice as long


class Command(BaseCommand):
    """Serves until SIGTERM or Ctrl-C."""

    help = "Serve Django and FastAPI with Daphne. Accepts --prepare and Daphne's own options: see `daphne --help`."
    requires_system_checks = (CHECK_TAG,)  # all checks together take longer than the startup; `prepare` and `check` run them

    def run_from_argv(self, argv: list[str]) -> None:
        """Leave the options to Daphne's parser, so that Django's parser does not reject them."""
        super().run_from_argv([*argv[:2], "--", *argv[2:]])

    def add_arguments(self, parser: CommandParser) -> None:
        """Accept Daphne's options as one list, which Daphne's parser parses later."""
        parser.add_argument("daphne", nargs="*", help="Daphne's options, such as -b 0.0.0.0 -p 80")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Daphne on HOST and PORT, unless Daphne's options name another endpoint."""
        from project.bridge.server.command_line import DaphneCommandLine  # imported here, because it imports the reactor

        arguments = [option for option in options["daphne"] if option != PREPARE_OPTION]
        if PREPARE_OPTION in options["daphne"]:
            call_command("prepare", stdout=self.stdout)
        if settings.ENV.delivery_worker is None:
            settings.DELIVERY_WORKER = "subprocess"  # must be set before the application is imported
        access_logger = None if settings.ENV.log_format == "text" else log_access
        daphne = DaphneCommandLine(shutdown_grace=settings.SHUTDOWN_GRACE, limits=_limits(), access_logger=access_logger)
        address = _address(daphne.parser.parse_args([*arguments, APPLICATION]))
        check_database_at_startup(self.stderr.write)
        serve_metrics(QueueCollector(read_queue_stats_in_thread))
        if address is not None:
            host, port = address
            arguments += ["-b", host, "-p", str(port)]
            self._announce(f"http://{host}:{port}")
        try:
            daphne.run([*arguments, APPLICATION])
        except StartupFailed as error:
            raise CommandError(f"The application did not start: {error}") from None
        except KeyboardInterrupt:  # Ctrl-C before the server handles signals
            raise SystemExit(EXIT_CODE_SIGINT) from None

    def _announce(self, url: str) -> None:
        """Print the URLs, or log the URL if the log is for a program."""
        if settings.ENV.log_format != "text":
            logger.info("Serving at %s", url)
            return
        banner = f"{BANNER}\n{API_DOCS_BANNER}" if settings.API_DOCS else BANNER
        self.stdout.write(banner.format(url=url))
        self.stdout.flush()


def _limits() -> ConnectionLimits:
    env = settings.ENV
    return ConnectionLimits(
        max_body_bytes=env.max_request_bytes,
        max_anonymous_body_bytes=MAX_ANONYMOUS_BODY_BYTES,
        messages_per_second=env.websocket_messages_per_second,
        max_connections_per_address=env.max_connections_per_address,
        proxies=parse_proxies(env.trusted_proxies),
        body_timeout=env.request_body_timeout,
        write_timeout=env.client_write_timeout,
    )


def _address(daphne_options: argparse.Namespace) -> tuple[str, int] | None:
    """Return the host and port to listen on, by default HOST and PORT. Return None if the options name only another socket."""
    other = daphne_options.unix_socket or daphne_options.socket_strings or daphne_options.file_descriptor is not None
    if other and daphne_options.host is None and daphne_options.port is None:
        return None
    host, port = daphne_options.host, daphne_options.port
    return host or settings.ENV.host, settings.ENV.port if port is None else port
