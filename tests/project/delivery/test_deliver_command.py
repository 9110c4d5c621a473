"""`manage.py deliver`, as the process that it is."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.processes import BASE_ENV, ROOT, Server, wait_for
from tests.smtp import smtp_sink

ACCEPT = "from project.emails.submit import submit_text_message as a; [a(address='ada@example.com', text=str(n)) for n in range({count})]"


def manage(data: Path, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of manage.py to its end."""
    environ = {**os.environ, **BASE_ENV, "DATA_DIR": str(data), **env}
    return subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def accept(data: Path, count: int) -> None:
    """Queue mails, in a process of its own."""
    assert manage(data, "shell", "-c", ACCEPT.format(count=count)).returncode == 0


def statuses(data: Path) -> list[str]:
    """The status of each mail."""
    with closing(sqlite3.connect(data / "mailrail.sqlite3")) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM emails_email ORDER BY id")]


@pytest.fixture
def delivering(data: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start `manage.py deliver`, with further environment variables."""
    started = []

    def start(**env: str) -> Server:
        process = Server(["manage.py", "deliver"], log=tmp_path / "log.deliver", env={"DATA_DIR": str(data), **env})
        started.append(process)
        return process

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


def test_drain_delivers_what_is_due_and_ends(data: Path) -> None:
    accept(data, 30)

    ended = manage(data, "deliver", "--drain")

    assert (ended.returncode, statuses(data)) == (0, ["sent"] * 30)
    assert ended.stderr.count("Email sent successfully") == 30
    assert "Traceback" not in ended.stderr


def test_drain_with_nothing_to_do_ends(data: Path) -> None:
    ended = manage(data, "deliver", "--drain")

    assert (ended.returncode, ended.stdout) == (0, "")


def test_drain_sends_to_the_relay_of_the_settings(data: Path) -> None:
    accept(data, 5)

    with smtp_sink() as sink:
        ended = manage(data, "deliver", "--drain", EMAIL_URL=f"{sink.url}?connections=2")

    assert (ended.returncode, statuses(data)) == (0, ["sent"] * 5)
    assert (sorted(mail["Subject"] for mail in sink.mails), sink.most_in_hand <= 2) == ([*"01234"], True)


def test_does_not_start_with_a_relay_that_is_not_safe(data: Path) -> None:
    ended = manage(data, "deliver", "--drain", EMAIL_URL="smtp://user:secret@mail.example.com")

    assert (ended.returncode, "mailrail.E004" in ended.stderr) == (1, True)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_delivers_what_another_process_accepts_and_drains_on_a_signal(
    data: Path, delivering: Callable[..., Server], how: signal.Signals
) -> None:
    with smtp_sink() as sink:
        sink.hold()
        process = delivering(EMAIL_URL=sink.url)
        wait_for(lambda: any((data / "workers").glob("*")), "the engine runs", lambda: process.log)
        accept(data, 3)
        wait_for(lambda: sink.in_flight == 3, "the mails are in the relay's hands")

        process.process.send_signal(how)
        sink.release()
        code = process.wait()

    assert (code, len(sink.mails), statuses(data)) == (0, 3, ["sent"] * 3)
    assert "Traceback" not in process.log


def test_a_server_that_does_not_deliver_accepts_and_is_healthy(start: StartServer, data: Path) -> None:
    server = start(DELIVERY_WORKER="external")

    answer = server.post("/api/send-email/", params={"email": "ada@example.com", "message": "Hi"})
    health = server.get("/api/health/ready")
    before = statuses(data)
    drained = manage(data, "deliver", "--drain")

    assert (answer.status_code, before) == (200, ["queued"])
    assert (health.status_code, health.json()["checks"]["engine"]) == (200, "ok")
    assert (statuses(data), drained.stderr.count("Email sent successfully")) == (["sent"], 1)
    assert "Email sent successfully" not in server.log
