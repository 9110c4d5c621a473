"""Delivery workers that are stopped with SIGSTOP, or that an email kills. Leases last only three seconds in these tests."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.databases import query
from tests.processes import ROOT, Server, process_env, wait_for
from tests.servers.delivery import killing_backend
from tests.smtp import Sink, smtp_sink

LEASE = ["--lease-seconds", "3"]
SUBMIT = """
from project.emails.submit import submit_plain_text_email
for number in range({count}):
    submit_plain_text_email(address=f"{{number}}@example.com", text="Hi")
"""

StartDeliver = Callable[..., Server]


@pytest.fixture
def deliver(data: Path, tmp_path: Path) -> Iterator[StartDeliver]:
    """Return a function that starts `manage.py deliver` with options and environment variables."""
    with ExitStack() as processes:

        def start_deliver(name: str, *options: str, **env: str) -> Server:
            command = ["manage.py", "deliver", *LEASE, *options]
            process = Server(command, log=tmp_path / f"log.{name}", env={"DATA_DIR": str(data), **env})
            processes.callback(process.kill)
            return process

        yield start_deliver


@pytest.fixture
def holding_sink() -> Iterator[Sink]:
    """Start an SMTP server that accepts no email until `release`."""
    with smtp_sink() as sink:
        sink.hold()
        yield sink


def submit(data: Path, count: int) -> None:
    """Queue emails."""
    run(["manage.py", "shell", "-c", SUBMIT.format(count=count)], data).check_returncode()


def run(command: list[str], data: Path, **env: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a Python command to its end."""
    environment = process_env({"DATA_DIR": str(data), **env})
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False)


def statuses(data: Path) -> Counter[str]:
    """Return the number of emails by status."""
    return Counter(status for (status,) in query(data, "SELECT status FROM emails_email"))


@pytest.mark.pitfall(26, 27)
def test_a_stopped_worker_loses_its_emails_and_sends_none_of_them_after_it_continues(
    deliver: StartDeliver, data: Path, holding_sink: Sink, sink: Sink
) -> None:
    submit(data, 8)
    stopped = deliver("stopped", EMAIL_URL=f"{holding_sink.url}?connections=2")
    wait_for(lambda: holding_sink.in_flight == 2, "two emails are in flight", lambda: stopped.log)
    wait_for(lambda: statuses(data)["sending"] == 4, "two more are claimed", lambda: stopped.log)
    stopped.process.send_signal(signal.SIGSTOP)

    other = deliver("other", EMAIL_URL=sink.url)
    wait_for(lambda: statuses(data)["sent"] == 8, "the other worker sends all emails", lambda: other.log)
    holding_sink.release()
    stopped.process.send_signal(signal.SIGCONT)
    stopped.wait_for_log("was taken over by another worker; it is not sent here", times=2)
    stopped.wait_for_log("was claimed by another worker; this result is discarded", times=2)

    assert (len(sink.emails), sink.duplicates) == (8, 0)
    assert len(holding_sink.emails) == 2  # only those that it was already sending
    assert statuses(data) == {"sent": 8}


def test_an_email_that_kills_its_workers_fails_alone(data: Path) -> None:
    submit(data, 4)
    backend = f"{killing_backend.__name__}.{killing_backend.KillingBackend.__qualname__}"
    drain = ["-m", killing_backend.__name__, "--drain"]

    codes = [run(drain, data, EMAIL_BACKEND=backend).returncode for _ in range(killing_backend.MAX_CRASHES + 1)]

    assert codes == [-signal.SIGKILL] * killing_backend.MAX_CRASHES + [0]
    assert statuses(data) == {"sent": 3, "failed": 1}
