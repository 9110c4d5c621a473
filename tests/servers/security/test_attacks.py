"""Forged headers and malformed request targets, against real servers."""

import socket

import pytest

from tests.processes import WAIT_TIMEOUT_SECONDS, Server

TARGETS = ["*", "http://localhost/api/", "//localhost/api/", "/%00", "/api/%ff", "/api/..", "/%2e%2e/api/", "/api\\x"]


@pytest.fixture(scope="module", params=["serve", "daphne"])
def server_kind(request: pytest.FixtureRequest) -> str:
    """Run the tests with our server class, and with stock Daphne."""
    return str(request.param)


def test_a_client_cannot_change_djangos_root_path(server: Server) -> None:
    response = server.get("/admin/", headers={"Daphne-Root-Path": "/evil"})

    assert (response.status_code, response.headers["Location"]) == (302, "/admin/login/?next=/admin/")


@pytest.mark.parametrize("path", ["/api/", "/api/docs", "/api/openapi.json", "/api/no-such-route"])
def test_the_api_rejects_other_host_names(server: Server, path: str) -> None:
    response = server.get(path, headers={"Host": "evil.example"})

    assert (response.status_code, response.json()["code"]) == (400, "bad_host")


@pytest.mark.parametrize("target", TARGETS)
def test_no_request_target_causes_a_server_error(server: Server, target: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_TIMEOUT_SECONDS) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status = int(client.makefile("rb").readline().split()[1])

    assert status < 500
