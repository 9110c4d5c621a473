"""Which connections are accepted, refused, or closed in favor of a new one."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from project.bridge.middleware.proxy_headers import parse_proxies
from project.bridge.server.connection_limits import ConnectionLimits
from project.bridge.server.open_connections import OpenConnections

ADA, EVE, PROXY = "198.51.100.7", "198.51.100.8", "192.0.2.1"
LIMITS = ConnectionLimits(max_connections_per_address=2, proxies=parse_proxies([PROXY]))


class Transport:
    """A connection from an IP address, or from a Unix socket."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self.is_closed = False

    def getPeer(self) -> SimpleNamespace:  # noqa: N802  # Twisted's name
        """Return the client's address."""
        return SimpleNamespace() if self._address is None else SimpleNamespace(host=self._address)

    def abortConnection(self) -> None:  # noqa: N802  # Twisted's name
        """Note that the server closed the connection."""
        self.is_closed = True

    loseConnection = abortConnection  # noqa: N815  # Twisted's name


def add(connections: OpenConnections, *addresses: str | None, busy: bool = False) -> list[Transport]:
    """Open connections from these addresses. If `busy`, each of them has a running request."""
    transports = [Transport(address) for address in addresses]
    for transport in transports:
        assert connections.add(transport)
        connections.set_idle(transport, is_idle=not busy)
    return transports


def test_closes_the_longest_idle_connection_of_an_address_that_has_too_many() -> None:
    connections = OpenConnections(LIMITS, max_total=100)
    others = add(connections, EVE)
    first, second = add(connections, ADA, ADA)
    connections.set_idle(first, is_idle=False)
    connections.set_idle(first, is_idle=True)

    (third,) = add(connections, ADA)

    assert [each.is_closed for each in (*others, first, second, third)] == [False, False, True, False]


def test_refuses_an_address_whose_connections_are_all_busy() -> None:
    connections = OpenConnections(LIMITS, max_total=100)
    add(connections, ADA, ADA, busy=True)

    assert not connections.add(Transport(ADA))
    assert connections.add(Transport(EVE))


def test_a_closed_connection_makes_room() -> None:
    connections = OpenConnections(LIMITS, max_total=100)
    first, _second = add(connections, ADA, ADA, busy=True)
    connections.remove(first)
    connections.remove(first)

    assert connections.add(Transport(ADA))


def test_counts_an_ipv6_network_together_and_an_ipv4_mapped_address_as_ipv4() -> None:
    connections = OpenConnections(LIMITS, max_total=100)
    add(connections, "2001:db8::1", "2001:db8::2", ADA, f"::ffff:{ADA}", busy=True)

    assert [connections.add(Transport(each)) for each in ("2001:db8::3", ADA, "2001:db8:0:1::1")] == [False, False, True]


@pytest.mark.parametrize("address", [PROXY, f"::ffff:{PROXY}", None])
def test_proxies_and_unix_sockets_may_have_any_number(address: str | None) -> None:
    connections = OpenConnections(LIMITS, max_total=100)

    add(connections, *[address] * 10, busy=True)


def test_zero_means_half_of_all_connections() -> None:
    connections = OpenConnections(ConnectionLimits(max_connections_per_address=0), max_total=10)
    add(connections, *[ADA] * 5, busy=True)

    assert not connections.add(Transport(ADA))


def test_closes_the_longest_idle_connection_of_any_address_if_the_server_is_full() -> None:
    connections = OpenConnections(LIMITS, max_total=3)
    (idle, *_others) = add(connections, PROXY, PROXY, PROXY)

    add(connections, EVE)

    assert idle.is_closed


def test_is_full_if_all_connections_are_busy() -> None:
    connections = OpenConnections(LIMITS, max_total=2)
    (first, _second) = add(connections, PROXY, PROXY, busy=True)
    assert connections.is_full

    connections.set_idle(first, is_idle=True)

    assert not connections.is_full


def test_logs_a_flood_of_connections_once(caplog: pytest.LogCaptureFixture) -> None:
    connections = OpenConnections(LIMITS, max_total=100)

    add(connections, *[ADA] * 50)

    assert [record.getMessage() for record in caplog.records] == ["Closing idle connections in favor of new ones: 3 are open"]


@pytest.mark.anyio
async def test_a_drain_waits_for_the_next_request_of_an_idle_connection() -> None:
    connections = OpenConnections(LIMITS, max_total=100)
    [transport] = add(connections, ADA)

    drain = asyncio.create_task(connections.drain_idle(time.monotonic() + 60))
    await asyncio.sleep(0)
    connections.set_idle(transport, is_idle=False)  # its request has arrived
    await drain

    assert not transport.is_closed


@pytest.mark.anyio
async def test_a_drain_closes_connections_that_stay_idle() -> None:
    connections = OpenConnections(LIMITS, max_total=100)
    idle, busy = add(connections, ADA)[0], add(connections, EVE, busy=True)[0]

    await connections.drain_idle(time.monotonic())

    assert [idle.is_closed, busy.is_closed] == [True, False]
