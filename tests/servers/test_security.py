"""A real server: what it refuses to start with, what a proxy in front may tell it, and what its log keeps to itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.conftest import PASSWORD, StartServer
from tests.processes import PATIENCE, ROOT, Server, free_port

PRODUCTION = {"PUBLIC_URL": "https://mail.example.com", "TRUSTED_PROXIES": "127.0.0.1"}
THROUGH_PROXY = {"Host": "mail.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
SECRETS = ("ada@", "grace@", "mallory@", "example.com", "Parcel", "It left our house", PASSWORD, "hunter2", "Bearer", "eyJ")


def manage(*arguments: str, data: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run manage.py to its end."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(data), **env}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)


def token(server: Server) -> str:
    """The administrator's."""
    answer = server.post("/api/token", data={"username": "admin", "password": PASSWORD})
    return str(answer.json()["access_token"])


@pytest.mark.parametrize("command", [["serve", "-p", "0"], ["prepare"]])
@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("DEBUG", "true", "E001"),
        ("ALLOWED_HOSTS", "*", "E002"),
        ("EMAIL_URL", "smtp://ada:hunter2@relay.example.com", "E004"),
        ("SECRET_KEY", "changeme" * 8, "E005"),
    ],
)
def test_refuses_to_start_with_what_nobody_can_mean(
    tmp_path: Path, command: list[str], name: str, value: str, number: str
) -> None:
    told = manage(*command, data=tmp_path, **{"EMAIL_URL": "smtp://relay.example.com", name: value})

    assert told.returncode == 1
    assert f"mailrail.{number}" in told.stderr
    assert "Traceback" not in told.stderr
    assert "hunter2" not in told.stderr


@pytest.mark.parametrize(("name", "value"), [("DEBUG", "true"), ("ALLOWED_HOSTS", "*"), ("SECRET_KEY", "changeme" * 8)])
def test_starts_with_them_while_mail_stays_here(start: StartServer, name: str, value: str) -> None:
    assert start(**{name: value}).get("/api/health/live").status_code == 200


def test_a_page_comes_over_tls_or_not_at_all(start: StartServer) -> None:
    server = start(**PRODUCTION)

    plain = server.get("/admin/login/")
    through_proxy = server.get("/admin/login/", headers=THROUGH_PROXY)

    assert (plain.status_code, plain.headers["Location"][:8]) == (301, "https://")
    assert through_proxy.status_code == 200
    assert "Secure" in through_proxy.headers["Set-Cookie"]


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/", "/api/docs", "/static/admin/css/base.css"])
def test_browsers_are_told_to_stay_with_tls(start: StartServer, path: str) -> None:
    server = start(**PRODUCTION)

    answer = server.get(path, headers=THROUGH_PROXY)

    assert answer.status_code == 200
    assert answer.headers.get_list("Strict-Transport-Security") == ["max-age=31536000"]
    assert len(answer.headers.get_list("Content-Security-Policy")) == 1


def test_somebody_signs_in_through_a_proxy(start: StartServer) -> None:
    server = start(**PRODUCTION)
    with server.client(headers=THROUGH_PROXY) as browser:
        page = browser.get("/admin/login/")
        cookie = {"Cookie": f"csrftoken={page.cookies['csrftoken']}"}  # it is Secure, and this client speaks without TLS
        form = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": page.cookies["csrftoken"]}

        signed_in = browser.post("/admin/login/", data=form, headers={**cookie, "Origin": "https://mail.example.com"})

    assert (signed_in.status_code, "sessionid" in signed_in.cookies) == (302, True)


def test_a_stranger_is_not_believed_to_come_over_tls(start: StartServer) -> None:
    server = start(PUBLIC_URL="https://mail.example.com", TRUSTED_PROXIES="192.0.2.1")

    assert server.get("/admin/login/", headers=THROUGH_PROXY).status_code == 301


def test_the_api_answers_over_tls_or_not_at_all(start: StartServer) -> None:
    server = start(**PRODUCTION)

    plain = server.post("/api/token", data={"username": "admin", "password": PASSWORD})
    through_proxy = server.post("/api/token", data={"username": "admin", "password": PASSWORD}, headers=THROUGH_PROXY)

    assert (plain.status_code, plain.json()["code"]) == (403, "https_required")
    assert through_proxy.status_code == 200


def test_the_api_believes_no_stranger_that_it_came_over_tls(start: StartServer) -> None:
    server = start(PUBLIC_URL="https://mail.example.com", TRUSTED_PROXIES="192.0.2.1")

    assert server.get("/api/", headers=THROUGH_PROXY).json()["code"] == "https_required"


def test_a_socket_opens_over_tls_or_not_at_all(start: StartServer) -> None:
    server = start(**PRODUCTION)
    url = f"{server.ws_url}/api/ws"

    with pytest.raises(InvalidStatus, match="403"), connect(url):
        pass
    with connect(url, additional_headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}) as socket:
        socket.send("Hi")
        assert socket.recv(PATIENCE) == "Message text was: Hi"


@pytest.mark.parametrize(("path", "status"), [("/api/health/live", 200), ("/api/health/ready", 200), ("/api/metrics", 401)])
def test_probes_on_this_machine_need_no_tls(start: StartServer, path: str, status: int) -> None:
    server = start(**PRODUCTION)

    assert server.get(path).status_code == status
    through_proxy = server.get(path, headers={**THROUGH_PROXY, "X-Forwarded-Proto": "http"})
    assert through_proxy.json()["code"] == "https_required"


def test_without_a_public_url_the_api_answers_in_the_clear(start: StartServer) -> None:
    assert start().get("/api/").status_code == 200


def test_with_a_real_transport_the_log_holds_no_secret_no_address_and_no_text(start: StartServer) -> None:
    server = start(EMAIL_URL=f"smtp://127.0.0.1:{free_port()}")
    mail = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Parcel", "text": "It left our house."}
    with server.client(headers={"Authorization": f"Bearer {token(server)}"}) as client:
        client.post("/api/emails", json=mail).raise_for_status()
        client.post("/api/send-email/", params={"email": "ada@example.com", "message": "It left our house."}).raise_for_status()
        client.put("/api/suppressions/grace@example.com", json={"reason": "asked"}).raise_for_status()
        client.put("/api/suppressions/grace%40example.com", json={"reason": "asked"}).raise_for_status()
        client.get("/admin/suppressions/suppression/grace_40example.com/change/")
        client.get("/nowhere/grace@example.com")
    server.post("/api/token", data={"username": "mallory@example.com", "password": "hunter2"})

    server.wait_for_log("The relay does not work")
    server.terminate()

    assert "POST /api/emails" in server.log
    assert [secret for secret in SECRETS if secret in server.log] == []
