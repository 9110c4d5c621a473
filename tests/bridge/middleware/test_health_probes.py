"""Health probes from allowed networks need neither HTTPS nor an allowed host."""

import pytest
from pytest_django import Settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from project.bridge.middleware.health_probes import HealthProbeMiddleware
from project.bridge.middleware.https_only import HTTPSOnlyMiddleware
from project.bridge.middleware.trusted_hosts import TrustedHostMiddleware

NODE = "10.20.0.7"
POD = "http://10.20.1.3:8000"
NETWORKS = ["10.20.0.0/16", "fd00::/8", "unix"]


async def endpoint(_request: Request) -> PlainTextResponse:
    """Respond to a request that the middleware passes on."""
    return PlainTextResponse("passed")


def client(peer: str = NODE) -> TestClient:
    """Return a client with the IP address `peer` that sends a pod's address as its host, without TLS."""
    app = Starlette(routes=[Route(path, endpoint, methods=["GET", "POST"]) for path in ("/", "/probe")])
    checked = HTTPSOnlyMiddleware(TrustedHostMiddleware(app))
    middleware = HealthProbeMiddleware(checked, app, paths=["/probe"], networks=NETWORKS)
    return TestClient(middleware, base_url=POD, client=(peer, 1))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("peer", [NODE, "::ffff:10.20.0.7", "fd00::7", ""])
def test_passes_a_probe_from_an_allowed_network(peer: str, method: str) -> None:
    assert client(peer).request(method, "/probe").status_code == 200


@pytest.mark.parametrize("peer", ["10.21.0.7", "198.51.100.7", "::1", "no address"])
def test_checks_a_probe_from_another_network(peer: str) -> None:
    assert client(peer).get("/probe").json()["code"] == "https_required"


def test_checks_other_paths_and_methods() -> None:
    assert [client().get("/").status_code, client().post("/probe").status_code] == [403, 403]


def test_checks_the_host_of_other_requests_over_tls(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["mail.example.com"]
    over_tls = TestClient(client("198.51.100.7").app, base_url="https://10.20.1.3", client=("198.51.100.7", 1))

    assert over_tls.get("/probe").json()["code"] == "bad_host"
