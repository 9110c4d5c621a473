"""The client's IP address and scheme behind a proxy.

Anyone can send `X-Forwarded-For` and `X-Forwarded-Proto`, so these headers are trusted only from the configured proxies. Daphne's
own `--proxy-headers` trusts every client, and uses the first IP address in the header, which the client can forge.
"""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

UNIX_SOCKET = "unix"  # stands for all clients on a Unix socket, which have no IP address
Network = IPv4Network | IPv6Network
_SCHEMES = {"http": {"http": "http", "https": "https"}, "websocket": {"http": "ws", "https": "wss"}}


def parse_proxies(names: Iterable[str]) -> frozenset[Network | str]:
    """Parse the IP addresses and networks of proxies. `unix` stands for clients on a Unix socket. Raises `ValueError`."""
    return frozenset(name if name == UNIX_SOCKET else ip_network(name) for name in names)


def is_trusted_proxy(address: str, proxies: Collection[Network | str]) -> bool:
    """Return whether a client's IP address belongs to one of the proxies. Any other text stands for a Unix socket."""
    if not _is_address(address):
        return UNIX_SOCKET in proxies
    ip = ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip  # a socket on :: reports IPv4 clients as IPv4-mapped addresses
    return any(ip in network for network in proxies if not isinstance(network, str))


class ProxyHeadersMiddleware:
    """ASGI middleware that replaces the IP address and scheme of a trusted proxy with those of the client."""

    def __init__(self, app: ASGIApp, proxies: Iterable[str]) -> None:
        self.app = app
        self._proxies = parse_proxies(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._proxies and scope["type"] in _SCHEMES and self._trusts((scope.get("client") or [UNIX_SOCKET])[0]):
            headers = Headers(scope=scope)
            scheme = _SCHEMES[scope["type"]].get(_last(headers, "x-forwarded-proto"), scope.get("scheme"))
            scope = {**scope, "client": self._client(scope, headers), **({"scheme": scheme} if scheme else {})}
        await self.app(scope, receive, send)

    def _client(self, scope: Scope, headers: Headers) -> object:
        # Each proxy appends the IP address of the client that connected to it. So the last address that is not a trusted proxy is
        # the client's address. The addresses before this address may have been forged by the client.
        for address in reversed(_split(headers, "x-forwarded-for")):
            if not _is_address(address):
                break
            if not self._trusts(address):
                return [address, 0]
        return scope.get("client")

    def _trusts(self, address: str) -> bool:
        return is_trusted_proxy(address, self._proxies)


def _split(headers: Headers, name: str) -> list[str]:
    return [value.strip() for line in headers.getlist(name) for value in line.split(",")]


def _last(headers: Headers, name: str) -> str:
    # The nearest proxy appends its value, so all values before the last may have been forged by the client.
    return (_split(headers, name) or [""])[-1].lower()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
