"""The open connections of a server: how many there are, from which client networks, and which of them are idle.

A client that opens connections and sends nothing must not use up the server's file descriptors. If a limit is reached, the
connection that has been idle for the longest time is closed in favor of the new connection.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from ..middleware.proxy_headers import Network, is_trusted_proxy
from ..notifications.local import connection_counts
from .connection_limits import ConnectionLimits
from .open_files import LogThrottle

logger = logging.getLogger(__name__)

IDLE_DRAIN_SECONDS = 1.0
IDLE_POLL_SECONDS = 0.02
IPV6_PREFIX_LENGTH = 64  # bits; one customer typically has a whole /64


class OpenConnections:
    """The open connections of a server. `max_total` is the maximum number of all connections."""

    def __init__(self, limits: ConnectionLimits, *, max_total: int) -> None:
        self._max_total = max_total
        per_address = limits.max_connections_per_address
        # One address never gets more than half of all connections.
        self._max_per_network = min(per_address or max_total, max(1, max_total // 2))
        self._proxies: frozenset[Network | str] = limits.proxies
        self._networks: dict[Any, str | None] = {}  # by transport; a proxy's connections have the network None
        self._per_network: Counter[str] = Counter()
        # Idle transports, the longest idle first: all, and those of one network.
        self._idle: dict[Any, None] = {}
        self._idle_of: defaultdict[str | None, dict[Any, None]] = defaultdict(dict)
        self._throttle = LogThrottle()

    @property
    def is_full(self) -> bool:
        """Return whether there is room neither for one more connection nor by closing an idle one. Logs it."""
        if len(self._networks) < self._max_total or self._idle:
            return False
        self._log("Refusing connections: all %d are in use", self._max_total)
        return True

    def add(self, transport: Any) -> bool:
        """Add an idle connection, and close idle connections above a limit. Return False if the address has too many."""
        network = self._network_of(transport)
        self._networks[transport] = network
        connection_counts.send(len(self._networks))
        if network is not None:
            self._per_network[network] += 1
            if self._per_network[network] > self._max_per_network and not self._close_first(self._idle_of[network]):
                self._log("Refusing connections from %s: %d are open", network, self._max_per_network)
                return False
        if len(self._networks) > self._max_total:
            self._close_first(self._idle)
        self.set_idle(transport, is_idle=True)
        return True

    def set_idle(self, transport: Any, *, is_idle: bool) -> None:
        """Note whether the connection waits for its next request. Only idle connections may be closed."""
        network = self._networks.get(transport)
        for idle in (self._idle, self._idle_of[network]):
            idle.pop(transport, None)
            if is_idle and transport in self._networks:
                idle[transport] = None
        if not self._idle_of[network]:
            del self._idle_of[network]  # otherwise there would be an entry for every network

    async def drain_idle(self, deadline: float) -> None:
        """Wait a moment for requests that are on their way, until `deadline` at most. Then close all connections without one.

        `deadline` is a time of `time.monotonic()`.
        """
        end = min(deadline, time.monotonic() + IDLE_DRAIN_SECONDS)
        while self._idle and time.monotonic() < end:  # noqa: ASYNC110  # bounded, and every request changes it
            await asyncio.sleep(IDLE_POLL_SECONDS)
        for transport in list(self._idle):
            transport.loseConnection()

    def remove(self, transport: Any) -> None:
        """Remove a closed connection. It may have been removed already."""
        self.set_idle(transport, is_idle=False)
        network = self._networks.pop(transport, None)
        connection_counts.send(len(self._networks))
        if network is not None:
            self._per_network[network] -= 1
            if not self._per_network[network]:
                del self._per_network[network]

    def _close_first(self, idle: dict[Any, None]) -> bool:
        """Close the connection that has been idle for the longest time. Return False if there is none."""
        transport = next(iter(idle), None)
        if transport is None:
            return False
        self._log("Closing idle connections in favor of new ones: %d are open", len(self._networks))
        self.remove(transport)
        transport.abortConnection()
        return True

    def _network_of(self, transport: Any) -> str | None:
        host = getattr(transport.getPeer(), "host", None)  # a Unix socket has none
        if not isinstance(host, str) or is_trusted_proxy(host, self._proxies):
            return None
        try:
            ip = ip_address(host.partition("%")[0])
        except ValueError:
            return None
        if isinstance(ip, IPv6Address):
            ip = ip.ipv4_mapped or ip_network((ip, IPV6_PREFIX_LENGTH), strict=False).network_address
        return str(ip)  # the hash of a text takes far less time, and each request needs several

    def _log(self, text: str, *arguments: object) -> None:
        if self._throttle.passes():
            logger.warning(text, *arguments)
