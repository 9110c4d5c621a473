"""Mail on its way through a real server: to a real SMTP server, across signals and crashes."""

import os
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
from tests.conftest import PASSWORD, StartServer
from tests.processes import ROOT, Server, wait_for
from tests.smtp import NO_SUCH_USER, TAKE, Sink, smtp_sink

MAIL = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Your order", "text": "It is on its way."}


@pytest.fixture
def slow_sink() -> Iterator[Sink]:
    """One that takes two seconds for each mail."""
    with smtp_sink(delay=2.0) as sink:
        yield sink


@pytest.fixture
def holding_sink() -> Iterator[Sink]:
    """One that takes no mail until it is told to."""
    with smtp_sink() as sink:
        sink.hold()
        yield sink


def test_the_answer_comes_at_once_and_the_mail_goes_out_over_smtp(start: StartServer, holding_sink: Sink) -> None:
    server = start(EMAIL_URL=holding_sink.url, DEFAULT_FROM_EMAIL="Shop <shop@example.com>")

    answer = _send(server, "Hello\nover there")

    assert (answer.status_code, holding_sink.mails) == (200, [])
    holding_sink.release()
    wait_for(lambda: len(holding_sink.mails) == 1, "the mail arrives")
    mail = holding_sink.mails[0]
    assert (mail["From"], mail["To"], mail["Subject"]) == ("Shop <shop@example.com>", "ada@example.com", "Hello")
    assert mail.get_content().replace("\r\n", "\n") == "Hello\nover there\n"
    assert mail["Message-ID"].endswith("@example.com>")


def test_with_a_real_transport_nobody_sends_without_a_credential(start: StartServer, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)

    answer = server.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["code"] == "not_authenticated"


def test_with_a_real_transport_the_log_holds_neither_address_nor_text(start: StartServer, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)

    _send(server, "between-us")
    server.wait_for_log("Email sent successfully")

    assert "ada@" not in server.log
    assert "between-us" not in server.log
    assert PASSWORD not in server.log
    assert f"Sending email {sink.mails[0]['Message-ID'].strip('<').partition('@')[0]}" in server.log


@pytest.mark.pitfall(13)
def test_forty_slow_mails_leave_the_api_free(start: StartServer, holding_sink: Sink) -> None:
    server = start(EMAIL_URL=holding_sink.url)
    token = _token(server)
    for number in range(40):
        _send(server, f"mail {number}", token)
    wait_for(lambda: holding_sink.in_flight == DEFAULT_CONNECTIONS, "all connections are busy")

    answers = [server.get("/api/add?x=3&y=5").json() for _ in range(20)]

    assert answers == [{"result": 8}] * 20
    assert holding_sink.mails == []  # they were busy all the time
    holding_sink.release()
    wait_for(lambda: len(holding_sink.mails) == 40, "all arrive")
    assert holding_sink.most_in_hand == DEFAULT_CONNECTIONS


@pytest.mark.pitfall(4)
@pytest.mark.parametrize("kind", ["serve", "daphne"])
def test_sigterm_lets_a_mail_in_hand_arrive(start: StartServer, slow_sink: Sink, kind: str) -> None:
    server = start(kind, EMAIL_URL=slow_sink.url)
    _send(server, "on its way")
    wait_for(lambda: slow_sink.in_flight == 1, "the mail is in the relay's hand")

    code = server.terminate()

    assert code == 0
    assert [mail["Subject"] for mail in slow_sink.mails] == ["on its way"]
    assert "Email sent successfully" in server.log
    assert "in hand" not in server.log


@pytest.mark.pitfall(3)
def test_what_a_killed_process_left_is_sent_after_the_restart(start: StartServer, holding_sink: Sink, sink: Sink) -> None:
    server = start(EMAIL_URL=holding_sink.url)
    token = _token(server)
    for number in range(DEFAULT_CONNECTIONS + 5):
        _send(server, f"mail {number}", token)
    wait_for(lambda: holding_sink.in_flight == DEFAULT_CONNECTIONS, "some are in hand, the others queued")
    server.kill()

    server = start(EMAIL_URL=sink.url)  # which does not wait for the leases: they are of five minutes
    server.wait_for_log("Email sent successfully", times=DEFAULT_CONNECTIONS + 5)

    assert Counter(mail["Subject"] for mail in sink.mails) == Counter(f"mail {n}" for n in range(DEFAULT_CONNECTIONS + 5))
    assert "abandoned mails back into the queue" in server.log
    start(EMAIL_URL=sink.url).terminate()
    assert len(sink.mails) == DEFAULT_CONNECTIONS + 5  # nothing was left, and nothing goes twice


def test_a_mail_that_the_relay_refuses_fails_and_the_next_is_sent(start: StartServer, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)
    token = _token(server)

    sink.at_rcpt = lambda address, _: NO_SUCH_USER if address == "bad@example.com" else TAKE
    _send(server, "refused", token, to="bad@example.com")
    _send(server, "taken", token)

    wait_for(lambda: len(sink.mails) == 1, "the second mail arrives")
    assert sink.mails[0]["Subject"] == "taken"
    server.wait_for_log("is bounced: 550 5.1.1")


@pytest.mark.pitfall(6)
def test_a_relay_that_never_answers_is_given_up_at_the_deadline(start: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = start(EMAIL_URL=f"smtp://127.0.0.1:{silent.getsockname()[1]}?timeout=0.5")
        _send(server, "hello?")

        server.wait_for_log("is queued: SMTPConnectTimeoutError")


def test_a_scheduled_mail_goes_when_its_time_has_come_and_not_before(start: StartServer, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)
    headers = {"Authorization": f"Bearer {_token(server)}"}
    at = datetime.now(UTC) + timedelta(seconds=3)

    email_id = server.post("/api/emails", json=MAIL | {"scheduled_at": at.isoformat()}, headers=headers).json()["id"]
    wait_for(lambda: len(sink.mails) == 1, "it arrives")
    server.wait_for_log("Email sent successfully")

    sent_at = server.get(f"/api/emails/{email_id}", headers=headers).json()["sent_at"]
    assert datetime.fromisoformat(sent_at) >= at


@pytest.mark.pitfall(31)
def test_fifty_calls_with_one_key_at_once_are_one_mail(start: StartServer, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url)
    headers = {"Authorization": f"Bearer {_token(server)}", "Idempotency-Key": "order-42"}

    with ThreadPoolExecutor(25) as callers:
        answers = list(callers.map(lambda _: server.post("/api/emails", json=MAIL, headers=headers), range(50)))

    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 49
    server.wait_for_log("Email sent successfully")
    assert len(sink.mails) == 1


@pytest.mark.pitfall(30)
def test_a_mail_that_no_wake_up_reached_is_found(start: StartServer, data: Path) -> None:
    server = start()
    accept = "from project.emails.submit import submit_text_message as a; a(address='ada@example.com', text='from elsewhere')"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(data)}
    subprocess.run([sys.executable, "manage.py", "shell", "-c", accept], cwd=ROOT, env=env, check=True)

    server.wait_for_log("Sending email to ada@example.com: from elsewhere")
    server.wait_for_log("Email sent successfully")


def _token(server: Server) -> str:
    answer = server.post("/api/token", data={"username": "admin", "password": PASSWORD})
    token: str = answer.json()["access_token"]
    return token


def _send(server: Server, message: str, token: str = "", *, to: str = "ada@example.com") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token or _token(server)}"}
    answer = server.post("/api/send-email/", params={"email": to, "message": message}, headers=headers)
    return answer.raise_for_status()
