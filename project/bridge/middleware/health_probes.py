"""Health probes of a load balancer or an orchestrator, which connect without TLS and with the server's own address as the host.

Kubernetes, for example, sends `GET http://10.1.2.3:8000/…` from the node's address. The checks of TLS and of the `Host` header
protect credentials and web pages. A health response contains neither.
"""

from collections.abc import Collection, Iterable
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from .proxy_headers import UNIX_SOCKET, parse_proxies

PROBE_METHODS = frozenset({"GET", "HEAD"})


class HealthProbeMiddleware:
    """ASGI middleware that passes probes from `networks` to the paths in `paths` directly to `unchecked`, and the rest to `app`.

    `networks` contains IP addresses and networks; `unix` stands for clients on a Unix socket. `ProxyHeadersMiddleware` must run
    first, because it sets the client's IP address.
    """

    def __init__(self, app: ASGIApp, unchecked: ASGIApp, *, paths: Collection[str], networks: Iterable[str]) -> None:
        self.app = app
        self._unchecked = unchecked
        self._paths = frozenset(paths)
        self._networks = parse_proxies(networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._unchecked if self._is_probe(scope) else self.app)(scope, receive, send)

    def _is_probe(self, scope: Scope) -> bool:
        is_probe = scope["type"] == "http" and scope["path"] in self._paths and scope["method"] in PROBE_METHODS
        return is_probe and self._trusts((scope.get("client") or [""])[0])

    def _trusts(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:  # a client on a Unix socket has no IP address
            return not address and UNIX_SOCKET in self._networks
        ip = getattr(ip, "ipv4_mapped", None) or ip  # a socket on :: reports IPv4 clients as IPv4-mapped addresses
        return any(ip in network for network in self._networks if not isinstance(network, str))
