"""Attempts to reach private pages and files on real servers, with ambiguous paths and with WebSockets from foreign origins."""

import re
import socket
from pathlib import Path

import pytest

from tests.processes import WAIT_TIMEOUT_SECONDS, Server

ADMIN_PATHS = [
    "/api/../admin/",
    "/api/%2e%2e/admin/",
    "/api/..%2fadmin/",
    "/api/%2e%2e%2fadmin/",
    "/api/..;/admin/",
    "/api/..\\admin/",
    "/api/..%5cadmin/",
    "/api/%252e%252e/admin/",
    "/api/docs/../../admin/",
    "/api/docs/files/../../../admin/",
    "//admin/",
    "/./admin/",
    "/%61dmin/",
    "/admin%2f",
    "/admin/..%2fadmin/",
]
EMAIL_PATHS = [
    "/api/emails",
    "//api/emails",
    "/api//emails",
    "/api%2femails",
    "/%61pi/emails",
    "/api/./emails",
    "/API/emails",
    "/api/emails/",
    "/api/emails%00",
    "/api/emails;x",
    "/api/docs/../emails",
    "/admin/../api/emails",
    "/static/../api/emails",
    "/api/emails?limit=1#x",
]
FILE_PATHS = [
    "/static/../manage.py",
    "/static/%2e%2e/manage.py",
    "/static/..%2fmanage.py",
    "/static/..%2f..%2fsecret_key",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/....//....//secret_key",
    "/api/docs/files/../../../manage.py",
    "/api/docs/files/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/api/docs/files/%2fetc%2fpasswd",
    "/api/docs/files/..%5c..%5cmanage.py",
    "/api/docs/files/%00",
]

UPGRADE = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {'A' * 22}=="]


@pytest.fixture(scope="module", params=["serve", "daphne"])
def server_kind(request: pytest.FixtureRequest) -> str:
    """Run the tests with our server class, and with stock Daphne."""
    return str(request.param)


def response_to(server: Server, target: str) -> tuple[int, str]:
    """Return the status and the whole response to this target. No HTTP client is used, because it would normalize the target."""
    with send_request(server, target, "Connection: close") as connection:
        text = connection.makefile("rb").read().decode(errors="replace")
    return int(text.split()[1]), text


def send_request(server: Server, target: str, *headers: str) -> socket.socket:
    """Send a GET request, and return its connection."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_TIMEOUT_SECONDS)
    connection.sendall("\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
    return connection


@pytest.mark.parametrize("target", ADMIN_PATHS)
def test_no_path_bypasses_the_login(server: Server, target: str) -> None:
    status, text = response_to(server, target)

    assert status in {302, 400, 404}
    assert status != 302 or "/admin/login/?next=" in text


@pytest.mark.parametrize("target", EMAIL_PATHS)
def test_no_path_bypasses_authentication(server: Server, target: str) -> None:
    status, text = response_to(server, target)

    assert status in {302, 307, 400, 401, 404}
    assert status != 302 or "/admin/login/?next=" in text
    assert status != 307 or re.search(r"(?im)^location: /api/emails\r$", text)
    assert '"data"' not in text


@pytest.mark.parametrize("target", FILE_PATHS)
def test_no_path_leads_to_a_private_file(server: Server, target: str) -> None:
    status, text = response_to(server, target)

    assert status in {400, 404}
    assert not re.search(r"root:|DJANGO_SETTINGS_MODULE|import ", text)


@pytest.mark.parametrize("path", ["/api/ws", "/api/ws/events"])
@pytest.mark.parametrize(("origin", "opens"), [("https://evil.example", False), ("null", False), (None, True)])
def test_a_foreign_page_cannot_open_a_websocket(server: Server, path: str, origin: str | None, opens: bool) -> None:
    headers = [*UPGRADE, *([] if origin is None else [f"Origin: {origin}"])]

    with send_request(server, path, *headers) as connection:
        status = int(connection.makefile("rb").readline().split()[1])

    assert status == (101 if opens else 403)


def test_no_response_contains_the_secret_key(server: Server, installation: Path) -> None:
    secret = (installation / "secret_key").read_text().strip()

    responses = [
        response_to(server, target)[1] for target in ("/", "/api/openapi.json", "/api/docs", "/admin/login/", "/nowhere")
    ]

    assert len(secret) >= 50
    assert not [text for text in responses if secret in text]
