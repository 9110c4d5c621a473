"""Delivery by a real server to a real SMTP server, across signals and crashes."""

import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from project.config.email_url import DEFAULT_CONNECTIONS
from project.delivery.waiting_emails import share_of
from tests.conftest import PASSWORD, StartServer
from tests.processes import ROOT, Server, process_env, wait_for
from tests.smtp import ACCEPT, NO_SUCH_USER, Sink, smtp_sink

# A domain that has not responded yet, or that responds slowly, gets three quarters of the connections.
ONE_DOMAIN = share_of(DEFAULT_CONNECTIONS)
EMAIL = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Your order", "text": "It is on its way."}


@pytest.fixture
def slow_sink() -> Iterator[Sink]:
    """Start an SMTP server that takes two seconds for each email."""
    with smtp_sink(delay=2.0) as sink:
        yield sink


@pytest.fixture
def holding_sink() -> Iterator[Sink]:
    """Start an SMTP server that accepts no email until `release`."""
    with smtp_sink() as sink:
        sink.hold()
        yield sink


def test_responds_at_once_and_sends_the_email_over_smtp(start: StartServer, api_key: str, holding_sink: Sink) -> None:
    server = start(EMAIL_URL=holding_sink.url, DEFAULT_FROM_EMAIL="Shop <shop@example.com>")

    response = _send(server, "Hello\nover there", api_key)

    assert (response.status_code, holding_sink.emails) == (200, [])
    holding_sink.release()
    wait_for(lambda: len(holding_sink.emails) == 1, "the email arrives")
    email = holding_sink.emails[0]
    assert (email["From"], email["To"], email["Subject"]) == ("Shop <shop@example.com>", "ada@example.com", "Hello")
    assert email.get_content().replace("\r\n", "\n") == "Hello\nover there\n"
    assert email["Message-ID"].endswith("@example.com>")


def test_requires_a_credential_with_a_real_transport(start: StartServer, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)

    response = server.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.json()["code"] == "not_authenticated"


def test_logs_neither_addresses_nor_texts_with_a_real_transport(start: StartServer, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)

    _send(server, "between-us", _token(server))
    server.wait_for_log("Email sent successfully")

    assert "ada@" not in server.log
    assert "between-us" not in server.log
    assert PASSWORD not in server.log
    assert f"Sending email {sink.emails[0]['Message-ID'].strip('<').partition('@')[0]}" in server.log


@pytest.mark.pitfall(13)
def test_forty_slow_emails_do_not_slow_down_the_api(start: StartServer, api_key: str, holding_sink: Sink) -> None:
    server = start(EMAIL_URL=holding_sink.url)
    for number in range(40):
        _send(server, f"email {number}", api_key)
    wait_for(lambda: holding_sink.in_flight == ONE_DOMAIN, "all connections for one domain are busy")

    results = [server.get("/api/add?x=3&y=5").json() for _ in range(20)]

    assert results == [{"result": 8}] * 20
    assert holding_sink.emails == []  # the connections were busy during the calls
    holding_sink.release()
    wait_for(lambda: len(holding_sink.emails) == 40, "all arrive")
    assert holding_sink.max_in_flight == ONE_DOMAIN


@pytest.mark.pitfall(4)
@pytest.mark.parametrize("kind", ["serve", "daphne"])
def test_sigterm_waits_for_an_email_in_flight(start: StartServer, api_key: str, slow_sink: Sink, kind: str) -> None:
    server = start(kind, EMAIL_URL=slow_sink.url)
    _send(server, "in flight", api_key)
    wait_for(lambda: slow_sink.in_flight == 1, "the email is in flight")

    exit_code = server.terminate()

    assert exit_code == 0
    assert [email["Subject"] for email in slow_sink.emails] == ["in flight"]
    assert "Email sent successfully" in server.log
    assert "still in flight" not in server.log


@pytest.mark.pitfall(4)
@pytest.mark.parametrize("delivery_worker", ["subprocess", "in_process"])
def test_requests_and_emails_in_flight_share_one_grace_period(
    start: StartServer, api_key: str, holding_sink: Sink, delivery_worker: str
) -> None:
    server = start(EMAIL_URL=holding_sink.url, SHUTDOWN_GRACE="4", DELIVERY_WORKER=delivery_worker)
    _send(server, "in flight", api_key)
    wait_for(lambda: holding_sink.in_flight == 1, "the email is in flight")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /api/greet?name=Ada&pause=5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.get("/api/health/live")  # when this later request is answered, the other one is in flight
        exit_code = server.terminate()

    left = re.findall(r"still in flight after the grace period of ([\d.e-]+) s", server.log)
    assert (exit_code, len(left), float(left[0]) < 2) == (0, 1, True)  # the request has used up most of the grace


@pytest.mark.pitfall(3)
def test_a_restart_delivers_the_emails_of_a_killed_process(
    start: StartServer, api_key: str, holding_sink: Sink, sink: Sink
) -> None:
    # In this process, because a worker in a subprocess survives the server, and releases its claims before it exits.
    server = start(EMAIL_URL=holding_sink.url, DELIVERY_WORKER="in_process")
    for number in range(DEFAULT_CONNECTIONS + 5):
        _send(server, f"email {number}", api_key)
    wait_for(lambda: holding_sink.in_flight == ONE_DOMAIN, "some emails are in flight, the others queued")
    server.kill()

    server = start(EMAIL_URL=sink.url)  # the new server does not wait for the leases, which last five minutes
    server.wait_for_log("Email sent successfully", times=DEFAULT_CONNECTIONS + 5)

    assert Counter(email["Subject"] for email in sink.emails) == Counter(f"email {n}" for n in range(DEFAULT_CONNECTIONS + 5))
    assert "abandoned emails" in server.log
    start(EMAIL_URL=sink.url).terminate()
    assert len(sink.emails) == DEFAULT_CONNECTIONS + 5  # no email is missing or sent twice


def test_sends_the_next_email_after_the_relay_rejected_one(start: StartServer, api_key: str, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)

    sink.at_rcpt = lambda address, _: NO_SUCH_USER if address == "bad@example.com" else ACCEPT
    _send(server, "rejected", api_key, to="bad@example.com")
    _send(server, "accepted", api_key)

    wait_for(lambda: len(sink.emails) == 1, "the second email arrives")
    assert sink.emails[0]["Subject"] == "accepted"
    server.wait_for_log("is bounced: 550 5.1.1")


@pytest.mark.pitfall(6)
def test_gives_up_on_a_silent_relay_after_the_timeout(start: StartServer, api_key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = start(EMAIL_URL=f"smtp://127.0.0.1:{silent.getsockname()[1]}?timeout=0.5")
        _send(server, "hello?", api_key)

        server.wait_for_log("is queued: SMTPConnectTimeoutError")


def test_sends_a_scheduled_email_not_before_its_time(start: StartServer, api_key: str, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)
    headers = {"Authorization": f"Bearer {api_key}"}
    at = datetime.now(UTC) + timedelta(seconds=3)

    email_id = server.post("/api/emails", json=EMAIL | {"scheduled_at": at.isoformat()}, headers=headers).json()["id"]
    wait_for(lambda: len(sink.emails) == 1, "the email arrives")
    server.wait_for_log("Email sent successfully")

    sent_at = server.get(f"/api/emails/{email_id}", headers=headers).json()["sent_at"]
    assert datetime.fromisoformat(sent_at) >= at


@pytest.mark.pitfall(31)
def test_fifty_simultaneous_calls_with_one_idempotency_key_send_one_email(start: StartServer, api_key: str, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)
    headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": "order-42"}

    with ThreadPoolExecutor(25) as pool:
        responses = list(pool.map(lambda _: server.post("/api/emails", json=EMAIL, headers=headers), range(50)))

    assert {(response.status_code, response.text) for response in responses} == {(202, responses[0].text)}
    assert sum("Idempotent-Replayed" in response.headers for response in responses) == 49
    server.wait_for_log("Email sent successfully")
    assert len(sink.emails) == 1


@pytest.mark.pitfall(30)
def test_polling_finds_an_email_without_a_wake_up(start: StartServer, data: Path) -> None:
    server = start()
    submit = (
        "from project.emails.submit import submit_plain_text_email;"
        "submit_plain_text_email(address='ada@example.com', text='from elsewhere')"
    )
    env = process_env({"DATA_DIR": str(data)})
    subprocess.run([sys.executable, "manage.py", "shell", "-c", submit], cwd=ROOT, env=env, check=True)

    server.wait_for_log("Sending email to ada@example.com: from elsewhere")
    server.wait_for_log("Email sent successfully")


def _token(server: Server) -> str:
    response = server.post("/api/token", data={"username": "admin", "password": PASSWORD})
    token: str = response.json()["access_token"]
    return token


def _send(server: Server, message: str, token: str, *, to: str = "ada@example.com") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    response = server.post("/api/send-email/", params={"email": to, "message": message}, headers=headers)
    return response.raise_for_status()
