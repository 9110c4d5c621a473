"""Ways into what is not for strangers, against the real servers: paths that are read in two ways, sockets of foreign pages."""

import re
import socket
from pathlib import Path

import pytest

from tests.processes import PATIENCE, Server

BACK_OFFICE = [
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
MAILS = [
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
FILES = [
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
    """Ours, and the stock one."""
    return str(request.param)


def answer(server: Server, target: str) -> tuple[int, str]:
    """The status and all of what is answered to this very target, which clients would tidy up."""
    with asked(server, target, "Connection: close") as connection:
        text = connection.makefile("rb").read().decode(errors="replace")
    return int(text.split()[1]), text


def asked(server: Server, target: str, *headers: str) -> socket.socket:
    """A connection on which this was asked."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    connection.sendall("\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
    return connection


@pytest.mark.parametrize("target", BACK_OFFICE)
def test_no_path_leads_around_the_login(server: Server, target: str) -> None:
    status, text = answer(server, target)

    assert status in {302, 400, 404}
    assert status != 302 or "/admin/login/?next=" in text


@pytest.mark.parametrize("target", MAILS)
def test_no_path_leads_around_the_credential(server: Server, target: str) -> None:
    status, text = answer(server, target)

    assert status in {302, 307, 400, 401, 404}
    assert status != 302 or "/admin/login/?next=" in text
    assert status != 307 or re.search(r"(?im)^location: http://localhost/api/emails\r$", text)
    assert '"data"' not in text


@pytest.mark.parametrize("target", FILES)
def test_no_path_leads_to_a_file_that_is_not_served(server: Server, target: str) -> None:
    status, text = answer(server, target)

    assert status in {400, 404}
    assert not re.search(r"root:|DJANGO_SETTINGS_MODULE|import ", text)


@pytest.mark.parametrize("path", ["/api/ws", "/api/ws/events"])
@pytest.mark.parametrize(("origin", "opens"), [("https://evil.example", False), ("null", False), (None, True)])
def test_a_foreign_page_opens_no_socket(server: Server, path: str, origin: str | None, opens: bool) -> None:
    headers = [*UPGRADE, *([] if origin is None else [f"Origin: {origin}"])]

    with asked(server, path, *headers) as connection:
        status = int(connection.makefile("rb").readline().split()[1])

    assert status == (101 if opens else 403)


def test_the_signing_key_is_nowhere_that_is_served(server: Server, installation: Path) -> None:
    secret = (installation / "secret_key").read_text().strip()

    answers = [answer(server, target)[1] for target in ("/", "/api/openapi.json", "/api/docs", "/admin/login/", "/nowhere")]

    assert len(secret) >= 50
    assert not [text for text in answers if secret in text]
