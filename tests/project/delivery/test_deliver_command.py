"""`manage.py deliver` as a real process."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.databases import query
from tests.processes import ROOT, Server, free_port, process_env, wait_for
from tests.smtp import smtp_sink

SUBMIT = """
from project.emails.submit import submit_plain_text_email
for number in range({count}):
    submit_plain_text_email(address="ada@example.com", text=str(number))
"""


def manage(data: Path, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a manage.py command, wait until it exits, and return the finished process."""
    environ = process_env({"DATA_DIR": str(data), **env})
    return subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def queue_emails(data: Path, count: int) -> None:
    """Queue emails, in a separate process."""
    assert manage(data, "shell", "-c", SUBMIT.format(count=count)).returncode == 0


def statuses(data: Path) -> list[str]:
    """Return the status of each email."""
    return [status for (status,) in query(data, "SELECT status FROM emails_email ORDER BY id")]


@pytest.fixture
def start_deliver(data: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts `manage.py deliver` with additional environment variables."""
    started = []

    def start(**env: str) -> Server:
        process = Server(["manage.py", "deliver"], log=tmp_path / "log.deliver", env={"DATA_DIR": str(data), **env})
        started.append(process)
        return process

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


def test_drain_delivers_due_emails_and_exits(data: Path) -> None:
    queue_emails(data, 30)

    result = manage(data, "deliver", "--drain")

    assert (result.returncode, statuses(data)) == (0, ["sent"] * 30)
    assert result.stderr.count("Email sent successfully") == 30
    assert "Traceback" not in result.stderr


def test_drain_exits_when_nothing_is_due(data: Path) -> None:
    result = manage(data, "deliver", "--drain")

    assert (result.returncode, result.stdout) == (0, "")


def test_drain_sends_to_the_configured_relay(data: Path) -> None:
    queue_emails(data, 5)

    with smtp_sink() as sink:
        result = manage(data, "deliver", "--drain", EMAIL_URL=f"{sink.url}?connections=2")

    assert (result.returncode, statuses(data)) == (0, ["sent"] * 5)
    assert (sorted(email["Subject"] for email in sink.emails), sink.max_in_flight <= 2) == ([*"01234"], True)


def test_does_not_start_with_an_unsafe_relay_url(data: Path) -> None:
    result = manage(data, "deliver", "--drain", EMAIL_URL="smtp://user:secret@mail.example.com")

    assert (result.returncode, "mailrail.E004" in result.stderr) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_delivers_emails_of_other_processes_and_drains_on_a_signal(
    data: Path, start_deliver: Callable[..., Server], number: signal.Signals
) -> None:
    with smtp_sink() as sink:
        sink.hold()
        process = start_deliver(EMAIL_URL=sink.url)
        wait_for(lambda: any((data / "workers").glob("*")), "the worker runs", lambda: process.log)
        queue_emails(data, 3)
        wait_for(lambda: sink.in_flight == 3, "the emails are in flight")

        process.process.send_signal(number)
        sink.release()
        exit_code = process.wait()

    assert (exit_code, len(sink.emails), statuses(data)) == (0, 3, ["sent"] * 3)
    assert "Traceback" not in process.log


def test_a_server_with_an_external_worker_accepts_emails_but_is_unready_until_one_runs(start: StartServer, data: Path) -> None:
    server = start(DELIVERY_WORKER="external")

    response = server.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})
    health = server.get("/api/health/ready")
    before = statuses(data)
    drained = manage(data, "deliver", "--drain")

    assert (response.status_code, before) == (200, ["queued"])
    assert (health.status_code, health.json()["checks"]["delivery"]) == (503, "no delivery worker is running")
    assert (statuses(data), drained.stderr.count("Email sent successfully")) == (["sent"], 1)
    assert "Email sent successfully" not in server.log


def test_serves_its_own_metrics(data: Path, start_deliver: Callable[..., Server]) -> None:
    queue_emails(data, 1)
    port = free_port()
    process = start_deliver(METRICS_PORT=str(port))
    process.wait_for_log("Email sent successfully")

    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text.splitlines()

    assert 'mailrail_events_total{type="email.sent"} 1.0' in lines
    assert "mailrail_delivery_workers 1.0" in lines


def test_a_metrics_port_in_use_stops_the_start(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = manage(data, "deliver", "--drain", METRICS_PORT=str(port))

    assert result.returncode == 1
    assert f"METRICS_PORT: cannot listen on 127.0.0.1, port {port}: Address already in use" in result.stderr
