"""A server for `GET /metrics` on a port of its own, for Prometheus. Off unless METRICS_PORT is set.

It answers also while the web server is busy or the database is unavailable. It needs no credential, so by default it listens only
on this machine (METRICS_HOST).
"""

from django.conf import settings
from django.core.management.base import CommandError
from prometheus_client import start_http_server
from prometheus_client.registry import Collector

from project.config.metrics_directory import is_first_process
from project.metrics.exposition import create_registry


def serve_metrics(*collectors: Collector) -> None:
    """Start the server in a thread, if METRICS_PORT is set and this is the first process of its command.

    Raises `CommandError` if the port is in use.
    """
    host, port = settings.ENV.metrics_host, settings.ENV.metrics_port
    if port is None or not is_first_process():
        return
    try:
        start_http_server(port, host, registry=create_registry(*collectors))
    except OSError as error:
        raise CommandError(f"METRICS_PORT: cannot listen on {host}, port {port}: {error.strerror or error}") from None
