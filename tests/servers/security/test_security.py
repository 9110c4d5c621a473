"""Security of a real server: it rejects unsafe settings at startup, handles proxy headers, and keeps secrets out of the log."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.conftest import PASSWORD, StartServer, run_server
from tests.processes import ROOT, WAIT_TIMEOUT_SECONDS, Server, free_port, process_env

PRODUCTION = {"PUBLIC_URL": "https://mail.example.com", "TRUSTED_PROXIES": "127.0.0.1"}
THROUGH_PROXY = {"Host": "mail.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
SECRETS = ("ada@", "grace@", "mallory@", "example.com", "Parcel", "It left our house", PASSWORD, "hunter2", "Bearer", "eyJ")


def manage(*arguments: str, data: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run manage.py, and return the finished process."""
    env = process_env({"DATA_DIR": str(data), **env})
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=WAIT_TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def server_env() -> dict[str, str]:
    """Run the shared server behind a proxy that terminates TLS."""
    return PRODUCTION


@pytest.fixture(scope="module")
def untrusting_server(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that trusts the proxy of another machine only."""
    env = {**PRODUCTION, "TRUSTED_PROXIES": "192.0.2.1"}
    with run_server("serve", env, installation, tmp_path_factory.mktemp("untrusting")) as server:
        yield server


def token(server: Server) -> str:
    """Return an access token of the administrator."""
    response = server.post("/api/token", data={"username": "admin", "password": PASSWORD})
    return str(response.json()["access_token"])


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
def test_refuses_to_start_with_unsafe_settings_if_email_leaves_the_machine(
    tmp_path: Path, command: list[str], name: str, value: str, number: str
) -> None:
    result = manage(*command, data=tmp_path, **{"EMAIL_URL": "smtp://relay.example.com", name: value})

    assert result.returncode == 1
    assert f"mailrail.{number}" in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize(("name", "value"), [("DEBUG", "true"), ("ALLOWED_HOSTS", "*"), ("SECRET_KEY", "changeme" * 8)])
def test_starts_with_unsafe_settings_if_email_stays_on_the_machine(start: StartServer, name: str, value: str) -> None:
    assert start(**{name: value}).get("/api/health/live").status_code == 200


def test_a_page_requires_tls(server: Server) -> None:
    plain = server.get("/admin/login/")
    through_proxy = server.get("/admin/login/", headers=THROUGH_PROXY)

    assert (plain.status_code, plain.headers["Location"][:8]) == (301, "https://")
    assert through_proxy.status_code == 200
    assert "Secure" in through_proxy.headers["Set-Cookie"]


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/", "/api/docs", "/static/admin/css/base.css"])
def test_responses_over_tls_have_hsts(server: Server, path: str) -> None:
    response = server.get(path, headers=THROUGH_PROXY)

    assert response.status_code == 200
    assert response.headers.get_list("Strict-Transport-Security") == ["max-age=31536000"]
    assert len(response.headers.get_list("Content-Security-Policy")) == 1


def test_a_user_logs_in_through_a_proxy(server: Server) -> None:
    with server.client(headers=THROUGH_PROXY) as browser:
        page = browser.get("/admin/login/")
        token = page.cookies["__Host-csrftoken"]
        cookie = {"Cookie": f"__Host-csrftoken={token}"}  # the cookie is Secure, and this client does not use TLS
        form = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": token}

        login = browser.post("/admin/login/", data=form, headers={**cookie, "Origin": "https://mail.example.com"})

    assert login.status_code == 302
    assert {name.partition("-")[0] for name in login.cookies} == {"__Host"}  # session, CSRF token and known device
    for header in login.headers.get_list("Set-Cookie"):
        assert "; Secure" in header
        assert "; Path=/" in header
        assert "Domain" not in header


def test_an_untrusted_client_cannot_claim_tls(untrusting_server: Server) -> None:
    assert untrusting_server.get("/admin/login/", headers=THROUGH_PROXY).status_code == 301


def test_the_api_requires_tls(server: Server) -> None:
    plain = server.post("/api/token", data={"username": "admin", "password": PASSWORD})
    through_proxy = server.post("/api/token", data={"username": "admin", "password": PASSWORD}, headers=THROUGH_PROXY)

    assert (plain.status_code, plain.json()["code"]) == (403, "https_required")
    assert through_proxy.status_code == 200


def test_an_untrusted_api_client_cannot_claim_tls(untrusting_server: Server) -> None:
    assert untrusting_server.get("/api/", headers=THROUGH_PROXY).json()["code"] == "https_required"


def test_a_websocket_requires_tls(server: Server) -> None:
    url = f"{server.ws_url}/api/ws"

    with pytest.raises(InvalidStatus, match="403"), connect(url):
        pass
    with connect(url, additional_headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}) as socket:
        socket.send("Hi")
        assert socket.recv(WAIT_TIMEOUT_SECONDS) == "Message text was: Hi"


@pytest.mark.parametrize(("path", "status"), [("/api/health/live", 200), ("/api/health/ready", 200), ("/api/metrics", 401)])
def test_health_probes_from_this_machine_need_no_tls(server: Server, path: str, status: int) -> None:
    assert server.get(path).status_code == status
    through_proxy = server.get(path, headers={**THROUGH_PROXY, "X-Forwarded-Proto": "http"})
    assert through_proxy.json()["code"] == "https_required"


def test_without_a_public_url_the_api_needs_no_tls(start: StartServer) -> None:
    assert start().get("/api/").status_code == 200


def test_if_email_leaves_the_machine_the_log_has_no_secret_no_address_and_no_text(start: StartServer) -> None:
    server = start(EMAIL_URL=f"smtp://127.0.0.1:{free_port()}")
    email = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Parcel", "text": "It left our house."}
    with server.client(headers={"Authorization": f"Bearer {token(server)}"}) as client:
        client.post("/api/emails", json=email).raise_for_status()
        client.post("/api/send-email/", params={"email": "ada@example.com", "message": "It left our house."}).raise_for_status()
        client.put("/api/suppressions/grace@example.com", json={"reason": "asked"}).raise_for_status()
        client.put("/api/suppressions/grace%40example.com", json={"reason": "asked"}).raise_for_status()
        client.get("/admin/suppressions/suppression/grace_40example.com/change/")
        client.get("/nowhere/grace@example.com")
    server.post("/api/token", data={"username": "mallory@example.com", "password": "hunter2"})

    server.wait_for_log("The relay is unavailable")
    server.terminate()

    assert "POST /api/emails" in server.log
    assert [secret for secret in SECRETS if secret in server.log] == []
