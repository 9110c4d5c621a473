"""Unusual, oversized and ambiguous HTTP/1.1 requests, and the headers of all responses, against a real server."""

import socket
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.processes import WAIT_TIMEOUT_SECONDS, Server

HOST = "Host: localhost\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
BODY = "\r\n5\r\nhello\r\n0\r\n\r\n"
HIDDEN = "GET /api/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"


def exchange(server: Server, request: str) -> bytes:
    """Send a request, and return everything that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_TIMEOUT_SECONDS) as client:
        client.sendall(request.encode("latin-1"))
        return b"".join(iter(lambda: client.recv(65536), b""))


AMBIGUOUS = {
    "coding": f"POST /api/token HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n{BODY}",
    "identity": f"POST /api/token HTTP/1.1\r\n{HOST}Transfer-Encoding: identity\r\n{BODY}",
    "two codings": f"POST /api/token HTTP/1.1\r\n{HOST}Transfer-Encoding: identity\r\n{CHUNKED}{BODY}",
    "repeated": f"POST /api/token HTTP/1.1\r\n{HOST}{CHUNKED}{CHUNKED}{BODY}",
    "HTTP/1.0": f"POST /api/token HTTP/1.0\r\n{HOST}{CHUNKED}{BODY}",
    "folded": f"POST /api/token HTTP/1.1\r\n{HOST}Transfer-Encoding:\r\n chunked\r\n{BODY}",
    "folded with a tab": f"POST /api/token HTTP/1.1\r\n{HOST}X-Thing: a\r\n\tb\r\n{CHUNKED}{BODY}",
    "space before the colon": f"POST /api/token HTTP/1.1\r\n{HOST}Transfer-Encoding : chunked\r\n{BODY}",
    "with a length": f"POST /api/token HTTP/1.1\r\n{HOST}Content-Length: 5\r\n{CHUNKED}{BODY}",
    "two lengths": f"POST /api/token HTTP/1.1\r\n{HOST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "no host": "GET /api/ HTTP/1.1\r\n\r\n",
    "two hosts": f"GET /api/ HTTP/1.1\r\n{HOST}{HOST}\r\n",
    "authority": f"CONNECT localhost:443 HTTP/1.1\r\n{HOST}\r\n",
}


@pytest.mark.parametrize("request_text", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_ambiguous_request_is_rejected_and_hides_no_second_request(server: Server, request_text: str) -> None:
    response = exchange(server, request_text + HIDDEN)

    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code": "bad_request"' in response
    assert response.count(b"\r\nDate: ") == 1


LARGE = {
    "one header": f"GET /api/ HTTP/1.1\r\n{HOST}X-Thing: {'x' * 20_000}\r\n\r\n",
    "many headers": f"GET /api/ HTTP/1.1\r\n{HOST}" + "X-Thing: x\r\n" * 600 + "\r\n",
    "together": f"GET /api/ HTTP/1.1\r\n{HOST}" + f"X-Thing: {'x' * 4000}\r\n" * 5 + "\r\n",
    "one header that does not end": f"GET /api/ HTTP/1.1\r\n{HOST}X-Thing: {'x' * 70_000}",
}


@pytest.mark.parametrize("request_text", LARGE.values(), ids=LARGE.keys())
def test_large_headers_are_rejected(server: Server, request_text: str) -> None:
    response = exchange(server, request_text)

    assert response.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"\r\nDate: " in response


def test_a_long_request_line_is_rejected(server: Server) -> None:
    response = exchange(server, f"GET /api/?{'x' * 20_000} HTTP/1.1\r\n{HOST}\r\n")

    assert response.startswith(b"HTTP/1.1 414 URI Too Long\r\n")


def test_an_absolute_url_is_a_valid_target_and_replaces_the_host(server: Server) -> None:
    request = "GET http://{}/api/add?x=3&y=5 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n"

    accepted = exchange(server, request.format("localhost", "evil.example"))
    rejected = exchange(server, request.format("evil.example", "localhost"))

    assert accepted.endswith(b'{"result":8}')
    assert b'"code":"bad_host"' in rejected


def test_http_1_0_without_a_host_is_answered(server: Server) -> None:
    assert exchange(server, "GET /api/add?x=3&y=5 HTTP/1.0\r\n\r\n").endswith(b'{"result":8}')


@pytest.mark.parametrize("path", ["/api/", "/api/no-such-route", "/admin/login/", "/static/admin/css/base.css"])
def test_a_response_has_a_date_and_no_server_header(server: Server, path: str) -> None:
    response = server.get(path)

    date = parsedate_to_datetime(response.headers["Date"])
    assert date.tzinfo is not None
    assert "Server" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "line"),
    [
        ("GET", "/api/add?x=a&y=1", b"HTTP/1.1 422 Unprocessable Content"),
        ("GET", "/api/me", b"HTTP/1.1 401 Unauthorized"),
        ("POST", "/api/emails", b"HTTP/1.1 401 Unauthorized"),
    ],
)
def test_the_reason_phrase_is_the_registered_one(server: Server, method: str, path: str, line: bytes) -> None:
    response = exchange(server, f"{method} {path} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n")

    assert response.partition(b"\r\n")[0] == line


def test_a_redirect_does_not_repeat_the_host_header(server: Server) -> None:
    response: httpx.Response = server.get("/api/emails/?limit=1", follow_redirects=False)

    assert (response.status_code, response.headers["Location"]) == (307, "/api/emails?limit=1")


@pytest.mark.parametrize("path", ["/api/emails", "/api/token", "/admin/login/"])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_request_without_a_credential_may_have_64_kib(server: Server, path: str, is_chunked: bool) -> None:
    body = b"x" * (64 * 1024 + 1)

    rejected = server.post(path, content=iter([body]) if is_chunked else body)
    accepted = server.post(path, content=body[:-1])

    assert (rejected.status_code, rejected.json()["code"]) == (413, "content_too_large")
    assert accepted.status_code != 413


@pytest.mark.parametrize(
    ("path", "credential", "status"),
    [
        ("/api/emails", "Authorization: Bearer mr_wrong\r\n", 401),
        ("/api/emails", "Cookie: sessionid=wrong\r\n", 401),
        ("/api/no-such-route", "Authorization: Bearer mr_wrong\r\n", 404),
        ("/admin/login/", "Cookie: csrftoken=x; sessionid=wrong\r\n", 413),
        ("/admin/suppressions/suppression/import/", "Authorization: Basic x\r\n", 413),
    ],
)
def test_a_large_body_with_a_wrong_credential_is_not_read(server: Server, path: str, credential: str, status: int) -> None:
    head = f"POST {path} HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n{credential}Expect: 100-continue\r\n"

    response = exchange(server, f"{head}Content-Length: 10000000\r\n\r\n")

    assert response.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_chunked_body_for_django_needs_a_login(server: Server) -> None:
    head = f"POST /admin/login/ HTTP/1.1\r\n{HOST}Cookie: sessionid=wrong\r\n{CHUNKED}\r\n"

    assert exchange(server, head).startswith(b"HTTP/1.1 411 Length Required\r\n")
