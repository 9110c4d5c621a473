"""A large body with a credential is read only if the application asks for it, in a real server process."""

import socket
from collections.abc import Iterator

import pytest

from tests.processes import BRIDGE_APP_SERVERS, WAIT_TIMEOUT_SECONDS, Server, running

LIMITS = '{"max_anonymous_body_bytes": 1000, "max_body_bytes": 4000000, "body_timeout": 1, "linger_timeout": 1}'
LARGE = 3_000_000
CHUNKED = "Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server that reads large bodies on demand."""
    folder = tmp_path_factory.mktemp("bridge")
    *command, application = BRIDGE_APP_SERVERS["serve"]
    environment = {"DATA_DIR": str(folder), "BRIDGE_APP_LIMITS": LIMITS}
    with running([*command, application], log=folder / "log", env=environment) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[socket.socket]:
    """Yield a connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_TIMEOUT_SECONDS) as connection:
        yield connection


def head(path: str, *, length: int | None = LARGE, more: str = "") -> bytes:
    """Return the head of a request with a credential."""
    body = CHUNKED if length is None else f"Content-Length: {length}\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n{more}{body}\r\n".encode()


def read_all(client: socket.socket) -> bytes:
    """Return everything that the server sends until it closes its side."""
    return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.pitfall(5)
@pytest.mark.parametrize("length", [LARGE, None])
@pytest.mark.parametrize("more", ["", "Expect: 100-continue\r\n"])
def test_a_rejected_request_is_answered_before_its_body_is_sent(client: socket.socket, length: int | None, more: str) -> None:
    client.sendall(head("/missing", length=length, more=more))

    response = read_all(client)

    assert response.startswith(b"HTTP/1.1 404 ")
    assert (response.lower().count(b"\r\nconnection: close\r\n"), response.count(b"HTTP/1.1")) == (1, 1)


@pytest.mark.pitfall(5)
def test_a_rejected_client_that_sends_its_body_gets_the_response(client: socket.socket) -> None:
    client.sendall(head("/missing") + bytes(LARGE) + head("/size", length=0))

    response = read_all(client)

    assert response.startswith(b"HTTP/1.1 404 ")
    assert response.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("length", [LARGE, None])
def test_requests_after_an_accepted_body_are_answered(client: socket.socket, length: int | None) -> None:
    body = bytes(LARGE) if length else b"%x\r\n%b\r\n0\r\n\r\n" % (LARGE, bytes(LARGE))
    last = head("/size", length=2, more="Connection: close\r\n") + b"Hi"

    client.sendall((head("/size", length=length) + body) * 2 + last)
    response = read_all(client)

    assert response.count(b"HTTP/1.1 200 ") == 3
    assert (response.count(str(LARGE).encode()), response[-1:]) == (2, b"2")


def test_the_client_is_invited_to_send_the_body_that_the_application_asks_for(client: socket.socket) -> None:
    client.sendall(head("/size", more="Expect: 100-continue\r\nConnection: close\r\n"))
    invitation = client.recv(25)
    client.sendall(bytes(LARGE))

    assert invitation == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert read_all(client).endswith(str(LARGE).encode())


def test_a_chunked_body_is_rejected_when_it_exceeds_the_limit(server: Server, client: socket.socket) -> None:
    client.sendall(head("/size", length=None) + b"3d0901\r\n" + bytes(4_000_001))

    response = read_all(client)

    assert response.startswith(b"HTTP/1.1 413 ")
    assert server.get("/started").json()["started"]


def test_a_body_that_arrives_too_slowly_is_rejected(client: socket.socket) -> None:
    client.sendall(head("/size") + b"x")

    assert read_all(client).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_leaves_ends_the_call(server: Server, client: socket.socket) -> None:
    client.sendall(head("/wait-for-body", length=2000) + b"x")
    server.wait_for_log("wait-for-body: called")

    client.close()

    server.wait_for_log("wait-for-body: the client left")
