"""`manage.py serve --processes N`: N server processes and one delivery worker, with a supervisor."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence

from django.conf import settings
from django.core.management.base import CommandError

from project.bridge.processes.listening_sockets import open_tcp_socket, open_unix_socket
from project.bridge.processes.message_relay import MessageRelay
from project.bridge.processes.server_processes import run_server_processes
from project.bridge.processes.supervised_process import ChildCommand, ProcessDidNotStart, SupervisedProcess
from project.config.variables.server import BASE_DIR
from project.delivery.worker_process import SharedWorkerProcess
from project.limits.shared_counters import counters_file
from project.management.serve_options import SHARED_COUNTERS_OPTION


def run(daphne_options: Sequence[str], sockets: Sequence[socket.socket], *, count: int, grace: float) -> None:
    """Run the processes until a signal stops them. Raises `CommandError` if they do not start."""
    if settings.DELIVERY_WORKER == "in_process":
        raise CommandError("DELIVERY_WORKER=in_process needs a server of one process. Remove --processes, or use subprocess.")
    delivers = settings.DELIVERY_WORKER == "subprocess"
    # The server processes do not start workers: the supervisor starts one for all of them.
    env = {**os.environ, "DELIVERY_WORKER": "external" if delivers else settings.DELIVERY_WORKER}
    env.pop("WEB_CONCURRENCY", None)
    env.pop("NOTIFY_SOCKET", None)  # the supervisor notifies systemd

    def create_companions(relay: MessageRelay) -> Sequence[SupervisedProcess]:
        return [SharedWorkerProcess(relay)] if delivers else []

    try:
        with counters_file() as counters:
            options = [*daphne_options, SHARED_COUNTERS_OPTION, str(counters)]
            command = ChildCommand([sys.executable, str(BASE_DIR / "manage.py"), "serve", *options], env=env)
            run_server_processes(command, sockets, count=count, grace=grace, create_companions=create_companions)
    except ProcessDidNotStart as error:
        raise CommandError(f"The server did not start: {error}") from None


def open_sockets(daphne_options: argparse.Namespace, address: tuple[str, int] | None) -> list[socket.socket]:
    """Return listening sockets for Daphne's options. Raises `CommandError`."""
    if daphne_options.socket_strings or daphne_options.file_descriptor is not None:
        raise CommandError("--processes supports the options --bind, --port and --unix-socket, but not --endpoint and --fd.")
    try:
        sockets = [] if address is None else [open_tcp_socket(*address)]
        if daphne_options.unix_socket:
            sockets.append(open_unix_socket(daphne_options.unix_socket))
    except OSError as error:
        raise CommandError(f"Cannot listen on {daphne_options.unix_socket or address}: {error}") from None
    return sockets
