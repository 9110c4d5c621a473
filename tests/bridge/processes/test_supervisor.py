"""The supervisor of a group of processes: reload, failed reload, and stop. The signals are sent to this process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from project.bridge.processes.process_group import ProcessGroup
from project.bridge.processes.supervised_process import ProcessDidNotStart, SupervisedProcess
from project.bridge.processes.supervisor import Supervisor
from tests.processes import WAIT_TIMEOUT_SECONDS, wait_for

pytestmark = pytest.mark.anyio

ECHO = [sys.executable, "-m", "tests.bridge.processes.child_processes", "echo"]
BROKEN = [sys.executable, "-c", "raise SystemExit(1)"]


class Groups:
    """Creates a group of one process for each command, and keeps the groups and the messages of their processes."""

    def __init__(self, *commands: list[str]) -> None:
        self._commands = list(commands)
        self.created: list[ProcessGroup] = []
        self.messages: list[str] = []

    def create(self) -> ProcessGroup:
        """Return a group with the next command."""
        number = len(self.created)
        process = SupervisedProcess(self._commands[number], lambda line: self.messages.append(f"{number}: {line}"))
        self.created.append(ProcessGroup([[process]], grace=10))
        return self.created[-1]


@asynccontextmanager
async def supervising(groups: Groups) -> AsyncIterator[None]:
    """Run the supervisor until the end of the block, and stop it with SIGTERM."""
    running = asyncio.create_task(Supervisor(groups.create).run())
    await wait_until(groups, "0: hello")
    try:
        yield
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
            await running


async def wait_until(groups: Groups, message: str) -> None:
    """Wait until a process has sent a message."""
    await asyncio.to_thread(wait_for, lambda: message in groups.messages, message)


async def test_a_reload_starts_new_processes_and_then_stops_the_old_ones() -> None:
    groups = Groups(ECHO, ECHO)
    async with supervising(groups):
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_until(groups, "0: the end")

        assert groups.messages == ["0: hello", "1: hello", "0: the end"]
    assert groups.messages[-1] == "1: the end"


async def test_the_old_processes_continue_if_the_new_ones_do_not_start(caplog: pytest.LogCaptureFixture) -> None:
    groups = Groups(ECHO, BROKEN)
    async with supervising(groups):
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.to_thread(wait_for, lambda: "Reload failed" in caplog.text, "the reload fails", lambda: caplog.text)

        assert groups.created[0].is_healthy
    assert groups.messages == ["0: hello", "0: the end"]


async def test_raises_if_the_first_processes_do_not_start() -> None:
    with pytest.raises(ProcessDidNotStart, match="exited with code 1"):
        await Supervisor(Groups(BROKEN).create).run()
