"""Daphne's command line with the bridge's server class."""

from functools import partial

from daphne.cli import CommandLineInterface

from .access_log import AccessLogger
from .connection_limits import DEFAULT_LIMITS, ConnectionLimits
from .daphne_server import DaphneServer


class DaphneCommandLine(CommandLineInterface):  # type: ignore[misc]  # Daphne has no types
    """Daphne's command line with `DaphneServer` as its server class. Sends no Server header, which only helps attackers."""

    def __init__(
        self, *, shutdown_grace: float, limits: ConnectionLimits = DEFAULT_LIMITS, access_logger: AccessLogger | None = None
    ) -> None:
        super().__init__()
        self.parser.set_defaults(server_name="")
        self.server_class = partial(DaphneServer, shutdown_grace=shutdown_grace, limits=limits, access_logger=access_logger)
