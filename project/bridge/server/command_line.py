"""Daphne's command line with the bridge's server class."""

import socket
from collections.abc import Sequence
from functools import partial

from daphne.cli import CommandLineInterface

from ..processes.connection_counts import SharedConnectionCounts
from .access_log import AccessLogger
from .connection_limits import DEFAULT_LIMITS, ConnectionLimits
from .daphne_server import DaphneServer
from .shared_socket_server import SharedSocketServer


class DaphneCommandLine(CommandLineInterface):  # type: ignore[misc]  # Daphne has no types
    """Daphne's command line with `DaphneServer` as its server class. Sends no Server header, which only helps attackers."""

    def __init__(
        self,
        *,
        shutdown_grace: float,
        limits: ConnectionLimits = DEFAULT_LIMITS,
        access_logger: AccessLogger | None = None,
        sockets: Sequence[socket.socket] = (),
        counts: SharedConnectionCounts | None = None,
    ) -> None:
        """With `sockets`, listen on them instead of the addresses in Daphne's options. `counts`: of a `Supervisor`."""
        super().__init__()
        self.parser.set_defaults(server_name="")
        server_class = partial(SharedSocketServer, sockets=sockets, counts=counts) if sockets else DaphneServer
        self.server_class = partial(server_class, shutdown_grace=shutdown_grace, limits=limits, access_logger=access_logger)
