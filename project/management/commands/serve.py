"""`python manage.py serve [--prepare] [--processes N] [Daphne's options]`: Daphne with the bridge's server class."""

import argparse
import logging
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.bridge.middleware.proxy_headers import parse_proxies
from project.bridge.processes.connection_counts import SharedConnectionCounts
from project.bridge.processes.listening_sockets import inherit_sockets, take_systemd_sockets
from project.bridge.server.access_log import log_access
from project.bridge.server.connection_limits import ConnectionLimits
from project.bridge.server.lifespan import StartupFailed
from project.config.database_schema import check_database_at_startup
from project.delivery.queue_collector import QueueCollector, read_queue_stats_in_thread
from project.management import server_processes
from project.management.serve_options import ServeOptions, parse_serve_options
from project.metrics.server import serve_metrics
from project.transports.factory import CHECK_TAG

logger = logging.getLogger(__name__)

APPLICATION = "project.asgi:application"
BANNER = """Mailrail:
  {url}/          landing page
  {url}/admin/    admin"""
API_DOCS_BANNER = "  {url}/api/docs  API documentation"
EXIT_CODE_SIGINT = 128 + signal.SIGINT  # the exit code that shells use after Ctrl-C


class Command(BaseCommand):
    """Serves until SIGTERM or Ctrl-C."""

    help = "Serve Django and FastAPI with Daphne. Accepts --prepare, --processes and Daphne's own options: see `daphne --help`."
    requires_system_checks = (CHECK_TAG,)  # all checks together take longer than the startup; `prepare` and `check` run them

    def run_from_argv(self, argv: list[str]) -> None:
        """Leave the options to Daphne's parser, so that Django's parser does not reject them."""
        super().run_from_argv([*argv[:2], "--", *argv[2:]])

    def add_arguments(self, parser: CommandParser) -> None:
        """Accept Daphne's options as one list, which Daphne's parser parses later."""
        parser.add_argument("daphne", nargs="*", help="Daphne's options, such as -b 0.0.0.0 -p 80")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Daphne on HOST and PORT, unless Daphne's options or systemd name another endpoint."""
        serve_options = parse_serve_options(options["daphne"], default_processes=settings.ENV.web_concurrency)
        if serve_options.prepare:
            call_command("prepare", stdout=self.stdout)
        if settings.ENV.delivery_worker is None:
            settings.DELIVERY_WORKER = "subprocess"  # must be set before the application is imported
        if serve_options.inherited_fds:
            settings.SHARED_COUNTERS = serve_options.shared_counters
            counts = SharedConnectionCounts(serve_options.connection_counts)
            self._serve(serve_options.daphne, inherit_sockets(serve_options.inherited_fds), counts)
        else:
            self._start(serve_options)

    def _start(self, options: ServeOptions) -> None:
        """Find out where to listen, log it, and serve."""
        sockets = take_systemd_sockets(os.environ)  # before the import below: Twisted removes the variables of systemd
        from project.bridge.server.command_line import DaphneCommandLine  # imported here, because it imports the reactor

        daphne_options = DaphneCommandLine(shutdown_grace=0).parser.parse_args([*options.daphne, APPLICATION])
        check_database_at_startup(self.stderr.write)
        serve_metrics(QueueCollector(read_queue_stats_in_thread))
        arguments = options.daphne
        address = None if sockets else _address(daphne_options)
        if options.processes is not None and not sockets:
            sockets = server_processes.open_sockets(daphne_options, address)
        if address is not None:
            host, port = address
            port = sockets[0].getsockname()[1] if sockets else port  # PORT=0 means any free port
            arguments = [*arguments, "-b", host, "-p", str(port)]
            self._announce(f"http://{host}:{port}")
        if options.processes is None:
            self._serve(arguments, sockets)
        else:
            server_processes.run(arguments, sockets, count=options.processes, grace=settings.SHUTDOWN_GRACE)

    def _serve(
        self, arguments: Sequence[str], sockets: Sequence[socket.socket], counts: SharedConnectionCounts | None = None
    ) -> None:
        """Serve in this process. If `sockets` is empty, listen on the addresses in Daphne's arguments."""
        from project.bridge.server.command_line import DaphneCommandLine  # imported here, because it imports the reactor

        daphne = DaphneCommandLine(
            shutdown_grace=settings.SHUTDOWN_GRACE,
            limits=_limits(),
            access_logger=None if settings.ENV.log_format == "text" else log_access,
            sockets=sockets,
            counts=counts,
        )
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
        max_anonymous_body_bytes=settings.MAX_ANONYMOUS_BODY_BYTES,
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
