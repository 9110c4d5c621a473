"""Who is calling, and over what, when a proxy stands in front.

Anybody can send `X-Forwarded-For` and `X-Forwarded-Proto`: they count only from an address that is named. Daphne's own
`--proxy-headers` believes everyone, and takes the end of the list that the client writes.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

UNIX_SOCKET = "unix"  # a socket of that kind: who connects to it has no address
Network = IPv4Network | IPv6Network
_SCHEMES = {"http": {"http": "http", "https": "https"}, "websocket": {"http": "ws", "https": "wss"}}


def parse_proxies(names: Iterable[str]) -> frozenset[Network | str]:
    """Networks of the proxies with these addresses, networks, or `unix`. Raises ValueError."""
    return frozenset(name if name == UNIX_SOCKET else ip_network(name) for name in names)


class ProxyHeadersMiddleware:
    """An ASGI application: puts the client's address and scheme, as trusted proxies tell them, in the place of the proxy's."""

    def __init__(self, app: ASGIApp, proxies: Iterable[str]) -> None:
        self.app = app
        self._proxies = parse_proxies(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._proxies and scope["type"] in _SCHEMES and self._trusts((scope.get("client") or [UNIX_SOCKET])[0]):
            headers = Headers(scope=scope)
            scheme = _SCHEMES[scope["type"]].get(headers.get("x-forwarded-proto", ""), scope.get("scheme"))
            scope = {**scope, "client": self._client(scope, headers), **({"scheme": scheme} if scheme else {})}
        await self.app(scope, receive, send)

    def _client(self, scope: Scope, headers: Headers) -> object:
        # Each proxy adds the address that it saw at the end: the last one that is no proxy of ours is true, and those before it
        # are what the client says.
        told = [address.strip() for line in headers.getlist("x-forwarded-for") for address in line.split(",")]
        for address in reversed(told):
            if not _is_address(address):
                break
            if not self._trusts(address):
                return [address, 0]
        return scope.get("client")

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return UNIX_SOCKET in self._proxies
        ip = ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip  # as a socket that listens on :: has it
        return any(ip in network for network in self._proxies if not isinstance(network, str))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
