"""A process beside the server's."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from project.bridge.processes import supervised_process
from project.bridge.processes.supervised_process import NICENESS, ControlPipe, ProcessDidNotStart, SupervisedProcess
from tests.processes import PATIENCE, wait_for

pytestmark = pytest.mark.anyio

GRACE = 10.0


class Heard(list[str]):
    """What a companion said."""

    def __init__(self) -> None:
        super().__init__()
        self._something = asyncio.Event()

    def hear(self, line: str) -> None:
        """Hear a line."""
        self.append(line)
        self._something.set()

    async def until(self, *lines: str) -> None:
        """Return when it has said these, and no others."""
        async with asyncio.timeout(PATIENCE):
            while self != list(lines):
                self._something.clear()
                await self._something.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    await asyncio.to_thread(wait_for, condition, "it holds")


@pytest.fixture
def heard() -> Heard:
    """Empty as yet."""
    return Heard()


def beside(kind: str, heard: Heard) -> SupervisedProcess:
    """One of tests/bridge/companions.py."""
    return SupervisedProcess([sys.executable, "-m", "tests.bridge.processes.child_processes", kind], heard.hear)


def processes() -> list[int]:
    """The ids of this process' children that are companions."""
    found = Path("/proc/self/task").glob("*/children")
    ids = [int(word) for path in found for word in path.read_text().split()]
    return [number for number in ids if b"tests.bridge.processes.child_processes" in Path(f"/proc/{number}/cmdline").read_bytes()]


async def test_each_hears_what_the_other_says(heard: Heard) -> None:
    one = beside("echo", heard)
    async with one.running(grace=GRACE):
        await heard.until("hello")
        one.send("ah")

        await heard.until("hello", "ah, too")


async def test_at_the_end_it_is_told_and_what_it_still_says_is_heard(heard: Heard) -> None:
    async with beside("echo", heard).running(grace=GRACE):
        await heard.until("hello")

    assert (heard, processes()) == (["hello", "the end"], [])


async def test_the_server_goes_first_where_both_want_a_core(heard: Heard) -> None:
    async with beside("echo", heard).running(grace=GRACE):
        await heard.until("hello")
        (process,) = processes()

        assert (os.getsid(process), os.getpgid(process)) == (os.getsid(0), process)
        assert os.getpriority(os.PRIO_PROCESS, process) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


async def test_one_that_dies_begins_again(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "RESTART_DELAYS_SECONDS", (0.0,))
    async with beside("echo", heard).running(grace=GRACE):
        await heard.until("hello")
        (process,) = processes()
        os.kill(process, signal.SIGKILL)

        await heard.until("hello", "hello")

    assert "child_processes echo ended with -9, and begins again in 0 s" in caplog.text


async def test_one_that_stands_still_is_killed_and_begins_again(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "RESTART_DELAYS_SECONDS", (0.0,))
    one = beside("echo", heard)
    async with one.running(grace=GRACE):
        await heard.until("hello")
        os.kill(processes()[0], signal.SIGSTOP)
        with monkeypatch.context() as patched:
            patched.setattr(supervised_process, "HEARTBEAT_INTERVAL_SECONDS", 0.05)
            patched.setattr(supervised_process, "HEARTBEAT_TIMEOUT_SECONDS", 0.2)
            await until(lambda: "gave no sign of life in 0.2 s, and is killed" in caplog.text)

        await heard.until("hello", "hello")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_to_all_processes_leaves_its_end_to_the_server(heard: Heard, number: signal.Signals) -> None:
    one = beside("echo", heard)
    async with one.running(grace=GRACE):
        await heard.until("hello")
        (process,) = processes()
        os.kill(process, number)
        one.send("still there")

        await heard.until("hello", "still there, too")


async def test_one_that_does_not_end_is_killed_after_its_grace(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "KILL_MARGIN_SECONDS", 0.1)
    one = beside("stubborn", heard)
    async with one.running(grace=0.0):
        await until(lambda: one.is_alive)

    assert (processes(), "did not end within 0.1 s, and is killed" in caplog.text) == ([], True)


async def test_it_is_alive_while_it_gives_signs_of_life(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    one = beside("echo", heard)
    before = one.is_alive
    async with one.running(grace=GRACE):
        await heard.until("hello")
        during = one.is_alive
        monkeypatch.setattr(supervised_process, "HEARTBEAT_TIMEOUT_SECONDS", 0.0)
        silent = one.is_alive

    assert (before, during, silent, one.is_alive) == (False, True, False, False)


async def test_signs_of_life_keep_it_alive_and_are_no_lines(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_process, "KILL_MARGIN_SECONDS", 0.0)
    one = beside("stubborn", heard)
    async with one.running(grace=0.0):
        await until(lambda: one.is_alive)

    assert heard == []


async def test_there_are_none_while_it_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_process, "HEARTBEAT_INTERVAL_SECONDS", 0.0)
    answers = iter([False, False, True])
    ours, theirs = socket.socketpair()
    server, beside = await ControlPipe.open(ours), await ControlPipe.open(theirs)
    asked: list[bool] = []

    def is_healthy() -> bool:
        asked.append(next(answers, False))
        return asked[-1]

    async with beside.heartbeats(is_healthy):
        await anext(server.lines())
    beside.finish()

    assert asked[:3] == [False, False, True]
    assert [line async for line in server.lines()] == []
    server.close()
    beside.close()


async def test_a_sign_of_life_counts_for_the_process_that_gave_it(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_process, "KILL_MARGIN_SECONDS", 0.0)
    silent = SupervisedProcess(["sleep", "3600"], heard.hear)
    silent._heard_at = time.monotonic()  # of the one before it

    async def run() -> None:
        async with silent.running(grace=0.0):
            pytest.fail("it gave no sign of life")

    running = asyncio.create_task(run())
    try:
        await until(lambda: silent._link is not None)
        is_alive = silent.is_alive
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert not is_alive


@pytest.mark.parametrize("was_killed", [True, False])
async def test_a_link_knows_whether_the_other_end_was_killed(was_killed: bool) -> None:
    ours, theirs = socket.socketpair()
    server, beside = await ControlPipe.open(ours), await ControlPipe.open(theirs)
    server.send("hello")
    server.close() if was_killed else server.finish()

    lines = [line async for line in beside.lines()]

    assert (lines, beside.received_end) == (["hello"], not was_killed)
    server.close()
    beside.close()


async def test_what_is_said_after_the_end_is_lost() -> None:
    ours, theirs = socket.socketpair()
    server, beside = await ControlPipe.open(ours), await ControlPipe.open(theirs)
    server.finish()
    server.send("too late")

    assert [line async for line in beside.lines()] == []
    server.close()
    beside.close()


async def test_what_is_not_understood_is_logged_and_the_next_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()

    def hear(line: str) -> None:
        if line == "hello":
            raise ValueError("no greetings")
        heard.hear(line)

    one = SupervisedProcess([sys.executable, "-m", "tests.bridge.processes.child_processes", "echo"], hear)
    async with one.running(grace=GRACE):
        one.send("go on")
        await heard.until("go on, too")

    assert "What python -m tests.bridge.processes.child_processes echo said is not understood" in caplog.text
    assert "no greetings" in caplog.text


async def test_what_is_said_while_there_is_none_is_lost(heard: Heard) -> None:
    one = beside("echo", heard)
    one.send("nobody hears")
    async with one.running(grace=GRACE):
        await heard.until("hello")

    assert heard == ["hello", "the end"]


@pytest.mark.parametrize(("command", "how"), [("/nothing", r"did not begin \(FileNotFoundError\)"), ("false", "ended with 1")])
async def test_one_that_ends_before_its_first_sign_of_life_lets_nothing_begin(heard: Heard, command: str, how: str) -> None:
    with pytest.raises(ProcessDidNotStart, match=how):
        async with SupervisedProcess([command], heard.hear).running(grace=GRACE):
            pytest.fail("it began")


async def test_one_that_gives_no_sign_of_life_is_waited_for_no_longer_and_begins_again_if_it_ends(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervised_process, "HEARTBEAT_TIMEOUT_SECONDS", 0.0)
    async with SupervisedProcess(["sleep", "0.5"], heard.hear).running(grace=GRACE):
        await until(lambda: "sleep 0.5 ended with 0, and begins again" in caplog.text)

    assert "sleep 0.5 gave no sign of life in 0 s" in caplog.text


async def test_a_command_that_cannot_be_run_any_more_is_tried_again_and_holds_nobody_up(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervised_process, "RESTART_DELAYS_SECONDS", (0.0, 100.0))
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -m tests.bridge.processes.child_processes echo\n")
    command.chmod(0o700)
    async with SupervisedProcess([str(command)], heard.hear).running(grace=GRACE):
        await heard.until("hello")
        command.unlink()
        os.kill(processes()[0], signal.SIGKILL)

        await until(lambda: "begins again in 100 s" in caplog.text)

    assert "command did not begin (FileNotFoundError), and begins again in 100 s" in caplog.text
