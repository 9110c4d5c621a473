"""Headers and paths that would pass for the server's own word, against the real servers."""

import socket

import pytest

from tests.processes import PATIENCE, Server

TARGETS = ["*", "http://localhost/api/", "//localhost/api/", "/%00", "/api/%ff", "/api/..", "/%2e%2e/api/", "/api\\x"]


@pytest.fixture(scope="module", params=["serve", "daphne"])
def server_kind(request: pytest.FixtureRequest) -> str:
    """Ours, and the stock one."""
    return str(request.param)


def test_a_client_cannot_move_djangos_addresses(server: Server) -> None:
    answer = server.get("/admin/", headers={"Daphne-Root-Path": "/evil"})

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/")


@pytest.mark.parametrize("path", ["/api/", "/api/docs", "/api/openapi.json", "/api/no-such-route"])
def test_the_api_answers_to_our_own_names_alone(server: Server, path: str) -> None:
    answer = server.get(path, headers={"Host": "evil.example"})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_host")


@pytest.mark.parametrize("target", TARGETS)
def test_no_request_target_makes_an_error_of_ours(server: Server, target: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status = int(client.makefile("rb").readline().split()[1])

    assert status < 500
