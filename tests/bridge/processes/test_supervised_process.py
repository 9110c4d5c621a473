"""Supervised child processes: messages, heartbeats, restarts and shutdown."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from project.bridge.processes import control_pipe, supervised_process
from project.bridge.processes.control_pipe import ControlPipe
from project.bridge.processes.supervised_process import NICENESS, ProcessDidNotStart, SupervisedProcess
from tests.processes import WAIT_TIMEOUT_SECONDS, wait_for

pytestmark = pytest.mark.anyio

GRACE = 10.0
CHILD = "tests.bridge.processes.child_processes"


class Received(list[str]):
    """The lines received from a child process."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def add(self, line: str) -> None:
        """Store a line."""
        self.append(line)
        self._changed.set()

    async def wait_until(self, *lines: str) -> None:
        """Wait until exactly these lines have been received."""
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            while self != list(lines):
                self._changed.clear()
                await self._changed.wait()


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true."""
    await asyncio.to_thread(wait_for, condition, "the condition is true")


@pytest.fixture
def received() -> Received:
    """Return an empty list for received lines."""
    return Received()


def supervise(kind: str, received: Received) -> SupervisedProcess:
    """Return the supervisor of a child process from child_processes.py."""
    return SupervisedProcess([sys.executable, "-m", CHILD, kind], received.add)


def child_ids() -> list[int]:
    """Return the process ids of the running child processes from child_processes.py."""
    found = Path("/proc/self/task").glob("*/children")
    ids = [int(word) for path in found for word in path.read_text().split()]
    return [number for number in ids if CHILD.encode() in Path(f"/proc/{number}/cmdline").read_bytes()]


async def open_pipe() -> tuple[ControlPipe, ControlPipe]:
    """Return both ends of a control pipe: the server's end and the child's end."""
    server, child = socket.socketpair()
    return await ControlPipe.open(server), await ControlPipe.open(child)


async def test_both_ends_receive_messages(received: Received) -> None:
    supervised = supervise("echo", received)
    async with supervised.running(grace=GRACE):
        await received.wait_until("hello")
        supervised.send("ah")

        await received.wait_until("hello", "ah, too")


async def test_at_the_end_the_child_exits_and_its_last_messages_are_received(received: Received) -> None:
    async with supervise("echo", received).running(grace=GRACE):
        await received.wait_until("hello")

    assert (received, child_ids()) == (["hello", "the end"], [])


async def test_the_child_has_a_lower_priority_in_the_same_session(received: Received) -> None:
    async with supervise("echo", received).running(grace=GRACE):
        await received.wait_until("hello")
        (child,) = child_ids()

        assert (os.getsid(child), os.getpgid(child)) == (os.getsid(0), child)
        assert os.getpriority(os.PRIO_PROCESS, child) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


async def test_restarts_a_child_that_dies(
    received: Received, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "RESTART_DELAYS_SECONDS", (0.0,))
    async with supervise("echo", received).running(grace=GRACE):
        await received.wait_until("hello")
        (child,) = child_ids()
        os.kill(child, signal.SIGKILL)

        await received.wait_until("hello", "hello")

    assert "child_processes echo exited with code -9; restarting it in 0 s" in caplog.text


async def test_kills_and_restarts_a_child_that_hangs(
    received: Received, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "RESTART_DELAYS_SECONDS", (0.0,))
    supervised = supervise("echo", received)
    async with supervised.running(grace=GRACE):
        await received.wait_until("hello")
        os.kill(child_ids()[0], signal.SIGSTOP)
        with monkeypatch.context() as patched:
            patched.setattr(supervised_process, "HEARTBEAT_INTERVAL_SECONDS", 0.05)
            patched.setattr(supervised_process, "HEARTBEAT_TIMEOUT_SECONDS", 0.2)
            await wait_until(lambda: "sent no heartbeat in 0.2 s; killing it" in caplog.text)

        await received.wait_until("hello", "hello")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_the_child_ignores_signals_to_all_processes(received: Received, number: signal.Signals) -> None:
    supervised = supervise("echo", received)
    async with supervised.running(grace=GRACE):
        await received.wait_until("hello")
        (child,) = child_ids()
        os.kill(child, number)
        supervised.send("still there")

        await received.wait_until("hello", "still there, too")


async def test_kills_a_child_that_does_not_exit_within_its_grace(
    received: Received, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "KILL_MARGIN_SECONDS", 0.1)
    supervised = supervise("stubborn", received)
    async with supervised.running(grace=0.0):
        await wait_until(lambda: supervised.is_alive)

    assert (child_ids(), "did not exit within 0.1 s; killing it" in caplog.text) == ([], True)


async def test_is_alive_while_heartbeats_are_recent(received: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    supervised = supervise("echo", received)
    before = supervised.is_alive
    async with supervised.running(grace=GRACE):
        await received.wait_until("hello")
        during = supervised.is_alive
        monkeypatch.setattr(supervised_process, "HEARTBEAT_TIMEOUT_SECONDS", 0.0)
        timed_out = supervised.is_alive

    assert (before, during, timed_out, supervised.is_alive) == (False, True, False, False)


async def test_heartbeats_are_not_messages(received: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_process, "KILL_MARGIN_SECONDS", 0.0)
    supervised = supervise("stubborn", received)
    async with supervised.running(grace=0.0):
        await wait_until(lambda: supervised.is_alive)

    assert received == []


async def test_sends_no_heartbeats_while_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_pipe, "HEARTBEAT_INTERVAL_SECONDS", 0.0)
    results = iter([False, False, True])
    server, child = await open_pipe()
    checks: list[bool] = []

    def is_healthy() -> bool:
        checks.append(next(results, False))
        return checks[-1]

    async with child.heartbeats(is_healthy):
        await anext(server.lines())
    child.finish()

    assert checks[:3] == [False, False, True]
    assert [line async for line in server.lines()] == []
    server.close()
    child.close()


async def test_a_heartbeat_of_an_earlier_child_does_not_count(received: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_process, "KILL_MARGIN_SECONDS", 0.0)
    silent = SupervisedProcess(["sleep", "3600"], received.add)
    silent._last_heartbeat_at = time.monotonic()  # from an earlier child

    async def run() -> None:
        async with silent.running(grace=0.0):
            pytest.fail("it sent no heartbeat")

    running = asyncio.create_task(run())
    try:
        await wait_until(lambda: silent._pipe is not None)
        is_alive = silent.is_alive
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert not is_alive


@pytest.mark.parametrize("was_killed", [True, False])
async def test_received_end_is_true_unless_the_other_end_was_killed(was_killed: bool) -> None:
    server, child = await open_pipe()
    server.send("hello")
    server.close() if was_killed else server.finish()

    lines = [line async for line in child.lines()]

    assert (lines, child.received_end) == (["hello"], not was_killed)
    server.close()
    child.close()


async def test_drops_messages_after_finish() -> None:
    server, child = await open_pipe()
    server.finish()
    server.send("too late")

    assert [line async for line in child.lines()] == []
    server.close()
    child.close()


async def test_logs_a_message_that_cannot_be_processed_and_receives_the_next(caplog: pytest.LogCaptureFixture) -> None:
    received = Received()

    def on_message(line: str) -> None:
        if line == "hello":
            raise ValueError("no greetings")
        received.add(line)

    supervised = SupervisedProcess([sys.executable, "-m", CHILD, "echo"], on_message)
    async with supervised.running(grace=GRACE):
        supervised.send("go on")
        await received.wait_until("go on, too")

    assert f"Failed to process a message of {Path(sys.executable).name} -m {CHILD} echo" in caplog.text
    assert "no greetings" in caplog.text


async def test_drops_messages_while_no_child_runs(received: Received) -> None:
    supervised = supervise("echo", received)
    supervised.send("dropped")
    async with supervised.running(grace=GRACE):
        await received.wait_until("hello")

    assert received == ["hello", "the end"]


@pytest.mark.parametrize(
    ("command", "reason"), [("/nothing", r"could not be started \(FileNotFoundError\)"), ("false", "exited with code 1")]
)
async def test_raises_if_the_child_exits_before_its_first_heartbeat(received: Received, command: str, reason: str) -> None:
    with pytest.raises(ProcessDidNotStart, match=reason):
        async with SupervisedProcess([command], received.add).running(grace=GRACE):
            pytest.fail("it started")


async def test_starts_without_a_child_that_sends_no_heartbeat_and_restarts_it_if_it_exits(
    received: Received, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "HEARTBEAT_TIMEOUT_SECONDS", 0.0)
    async with SupervisedProcess(["sleep", "0.5"], received.add).running(grace=GRACE):
        await wait_until(lambda: "sleep 0.5 exited with code 0; restarting it" in caplog.text)

    assert "sleep 0.5 sent no heartbeat in 0 s" in caplog.text


async def test_retries_a_command_that_can_no_longer_be_run_without_delaying_the_end(
    received: Received, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervised_process, "RESTART_DELAYS_SECONDS", (0.0, 100.0))
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -m {CHILD} echo\n")
    command.chmod(0o700)
    async with SupervisedProcess([str(command)], received.add).running(grace=GRACE):
        await received.wait_until("hello")
        command.unlink()
        os.kill(child_ids()[0], signal.SIGKILL)

        await wait_until(lambda: "restarting it in 100 s" in caplog.text)

    assert "command could not be started (FileNotFoundError); restarting it in 100 s" in caplog.text


async def test_restarts_a_child_whose_lines_cannot_be_read(
    received: Received, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "RESTART_DELAYS_SECONDS", (0.0,))
    supervised = supervise("echo", received)
    async with supervised.running(grace=GRACE):
        await received.wait_until("hello")
        (child,) = child_ids()
        assert supervised._pipe is not None
        supervised._pipe._reader.set_exception(ValueError("unreadable"))

        await received.wait_until("hello", "hello")
        assert child_ids() != [child]

    assert "The supervision of" in caplog.text
