"""Hosts of a test as network namespaces. Needs root and the program `ip` (Debian: iproute2).

A process on such a host reaches only this machine, at the addresses of the host's two links: one link for everything, and another
one that only the host's delivery worker uses, to reach PostgreSQL. A link can be cut: packets disappear in both directions, and
neither side gets an error, as with a firewall that drops packets.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.processes import Host

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Link:
    """A cable between this machine and a host: the interface and the address of this machine's end, and the host's address."""

    interface: str
    this_address: str
    host_address: str

    def cut(self) -> None:
        """Let all packets disappear until `repair`."""
        _ip("link", "set", self.interface, "down")

    def repair(self) -> None:
        """Transport packets again."""
        _ip("link", "set", self.interface, "up")


@dataclass(frozen=True)
class NetworkHost:
    """A host with a network of its own."""

    namespace: str
    link: Link
    database_link: Link

    @property
    def host(self) -> Host:
        """Where processes of this host run."""
        assert IP is not None
        return Host(self.link.host_address, (IP, "netns", "exec", self.namespace))


def why_unavailable() -> str | None:
    """Return why this machine cannot run hosts, or None."""
    if IP is None:
        return "needs the program ip (Debian: iproute2)"
    namespace = f"mailrail-{secrets.token_hex(4)}"
    created = subprocess.run([IP, "netns", "add", namespace], capture_output=True, text=True, check=False)
    if created.returncode:
        return f"needs network namespaces, which root may create: {created.stderr.strip()}"
    _ip("netns", "delete", namespace)
    return None


@contextmanager
def network_hosts(count: int) -> Iterator[list[NetworkHost]]:
    """Create hosts, and remove them at the end of the `with` block."""
    network = f"10.{200 + secrets.randbelow(55)}.{secrets.randbelow(256)}"  # other test runs on this machine use other ones
    with ExitStack() as stack:
        yield [stack.enter_context(_network_host(network, number)) for number in range(count)]


@contextmanager
def _network_host(network: str, number: int) -> Iterator[NetworkHost]:
    first = 8 * number  # a link has four addresses
    namespace = f"mailrail-{network}.{first}"
    _ip("netns", "add", namespace)
    with ExitStack() as stack:
        stack.callback(_ip, "netns", "delete", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
        links = [stack.enter_context(_link(namespace, f"{network}.{number}", number)) for number in (first, first + 4)]
        yield NetworkHost(namespace, *links)


@contextmanager
def _link(namespace: str, subnet: str, number: int) -> Iterator[Link]:
    """Connect a namespace to this machine. `subnet` is the first address of the link's network, and `number` its last byte."""
    network = subnet.rpartition(".")[0]
    interface = "mr" + "".join(f"{int(part):02x}" for part in subnet.split("."))
    link = Link(interface, f"{network}.{number + 1}", f"{network}.{number + 2}")
    inside = f"host{number}"
    _ip("link", "add", interface, "type", "veth", "peer", "name", inside, "netns", namespace)
    # Without the blackhole, packets to a host whose link is cut would leave through the default route.
    _ip("route", "add", "blackhole", f"{subnet}/30", "metric", "1000")
    try:
        _ip("address", "add", f"{link.this_address}/30", "dev", interface)
        _ip("link", "set", interface, "up")
        _ip("-n", namespace, "address", "add", f"{link.host_address}/30", "dev", inside)
        _ip("-n", namespace, "link", "set", inside, "up")
        # With a fixed neighbor, a connection through a cut link gets no error, as behind a firewall that drops packets.
        address = _ip("-brief", "link", "show", "dev", interface).split()[2]
        _ip("-n", namespace, "neighbor", "replace", link.this_address, "lladdr", address, "dev", inside)
        yield link
    finally:
        _ip("link", "delete", interface)
        _ip("route", "delete", "blackhole", f"{subnet}/30")


def _ip(*arguments: str) -> str:
    assert IP is not None
    return subprocess.run([IP, *arguments], capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS).stdout
