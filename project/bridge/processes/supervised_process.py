"""Supervised child process: it starts and stops with the server, and is restarted when it dies.

Use a child process for work that would block the server, because the GIL lets only one thread of a process run Python at a time.
A control pipe connects the two processes. The operating system closes it however a process ends, so the child notices when the
server was killed.
"""

import asyncio
import logging
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..background.shutdown_deadline import Grace, seconds_left
from .control_pipe import HEARTBEAT_INTERVAL_SECONDS, ControlPipe

logger = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT_SECONDS = 15.0  # a process that sends no heartbeat for longer counts as hung
RESTART_DELAYS_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # back-off between restarts; the last delay repeats
STABLE_AFTER_SECONDS = 60.0  # a process that ran for longer starts again with the first delay
KILL_MARGIN_SECONDS = 5.0  # added to the grace before the process is killed
NICENESS = 10  # added to the child's nice value, so that the server runs first if both need the same core


class ProcessDidNotStart(RuntimeError):
    """The process exited before its first heartbeat. See its standard error output for the reason."""


@dataclass(frozen=True)
class ChildCommand:
    """A command line, and the attributes of the process that runs it. `niceness` is added to the supervisor's nice value."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None  # None means the supervisor's environment
    inherited_fds: Sequence[int] = ()
    niceness: int = NICENESS
    start_timeout: float | None = None  # for the first heartbeat; by default `HEARTBEAT_TIMEOUT_SECONDS`


class SupervisedProcess:
    """The child process, as the server sees it. Create one per application, and use `running` in the lifespan."""

    def __init__(self, command: Sequence[str] | ChildCommand, on_message: Callable[[str], object]) -> None:
        """Prepare to run `command`, with its end of the socket pair as standard input.

        `on_message` is called in the event loop with each line that is not a heartbeat.
        """
        self._command = command if isinstance(command, ChildCommand) else ChildCommand(command)
        self._on_message = on_message
        self._pipe: ControlPipe | None = None  # while a process runs
        self._process: subprocess.Popen[bytes] | None = None
        self._last_heartbeat_at = -math.inf  # of the current process, on the monotonic clock
        self.is_supervised = False  # whether `running` is open
        self._stopping = asyncio.Event()
        self._started = asyncio.Event()  # set by the first heartbeat since `running` was opened

    @property
    def is_alive(self) -> bool:
        """Return whether the process sent a heartbeat within the heartbeat timeout."""
        return self._pipe is not None and time.monotonic() < self._last_heartbeat_at + HEARTBEAT_TIMEOUT_SECONDS

    def send(self, line: str = "") -> None:
        """Send a line to the process. While no process runs, lines are dropped, so a process must look for work at its start."""
        if self._pipe is not None:
            self._pipe.send(line)

    @asynccontextmanager
    async def running(self, *, grace: Grace) -> AsyncIterator[None]:
        """Keep the process running while this context is open. Then the process has until the end of `grace` to exit.

        Waits for the first heartbeat, at most for the command's `start_timeout`. Raises `ProcessDidNotStart` if the process exits
        before the first heartbeat.
        """
        self._stopping, self._started, self.is_supervised = asyncio.Event(), asyncio.Event(), True
        supervision = asyncio.create_task(self._supervise())
        try:
            await self._wait_for_start(supervision)
            yield
        finally:
            self.is_supervised = False
            self._stopping.set()
            left = seconds_left(grace)
            if self._pipe is not None:
                self._pipe.finish(grace=left)
            await asyncio.wait({supervision}, timeout=left + KILL_MARGIN_SECONDS)
            if not supervision.done() and self._process is not None:
                logger.error("%s did not exit within %g s; killing it", self._name, left + KILL_MARGIN_SECONDS)
                self._process.kill()
            await supervision

    async def _wait_for_start(self, supervision: "asyncio.Task[None]") -> None:
        starting, timeout = asyncio.create_task(self._started.wait()), self._command.start_timeout or HEARTBEAT_TIMEOUT_SECONDS
        try:
            done, _ = await asyncio.wait({starting, supervision}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            starting.cancel()
        if supervision in done:
            supervision.result()
        if not done:
            logger.error("%s sent no heartbeat in %g s", self._name, timeout)
            self._started.set()  # the server starts anyway, and restarts the process if it exits

    async def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                outcome = f"exited with code {await self._run()}"
            except OSError as error:  # such as too little memory, or too many processes
                outcome = f"could not be started ({type(error).__name__})"
            except Exception:  # a bug must not end the supervision: the process would never be restarted
                logger.exception("The supervision of %s failed", self._name)
                outcome = "was killed"
            if self._stopping.is_set():
                return
            if not self._started.is_set():
                raise ProcessDidNotStart(f"{self._name} {outcome}; see its output above")
            failures = 0 if time.monotonic() > started_at + STABLE_AFTER_SECONDS else failures
            delay = RESTART_DELAYS_SECONDS[min(failures, len(RESTART_DELAYS_SECONDS) - 1)]
            failures += 1
            logger.error("%s %s; restarting it in %g s", self._name, outcome, delay)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()

    async def _run(self) -> int:
        """Run the process until it exits. Return its exit code."""
        process, our_end = _spawn(self._command)
        self._process, self._last_heartbeat_at = process, -math.inf
        self._pipe = await ControlPipe.open(our_end)
        watchdog = asyncio.create_task(self._kill_if_hung(process))
        try:
            if self._stopping.is_set():
                self._pipe.finish(grace=0.0)
            async for line in self._pipe.lines():
                self._last_heartbeat_at = time.monotonic()  # any line shows that the process runs
                self._started.set()
                if line:
                    self._receive(line)
        except Exception:
            process.kill()  # without its heartbeats, the watchdog could not tell whether it hangs
            await asyncio.to_thread(process.wait)
            raise
        finally:
            watchdog.cancel()
            self._pipe.close()
            self._pipe = None
        return await asyncio.to_thread(process.wait)

    async def _kill_if_hung(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill the process if its heartbeats stop, because it may hold a lock that the server needs, such as the write lock."""
        # Polls are counted, not seconds: if the machine was suspended, time passed but the process could not send a heartbeat.
        silent_polls = 0
        while not self._stopping.is_set():
            last_heartbeat_at = self._last_heartbeat_at
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)
            silent_polls = silent_polls + 1 if last_heartbeat_at == self._last_heartbeat_at else 0
            if last_heartbeat_at > -math.inf and silent_polls * HEARTBEAT_INTERVAL_SECONDS > HEARTBEAT_TIMEOUT_SECONDS:
                logger.error("%s sent no heartbeat in %g s; killing it", self._name, HEARTBEAT_TIMEOUT_SECONDS)
                process.kill()
                return

    def _receive(self, line: str) -> None:
        try:
            self._on_message(line)
        except Exception:
            logger.exception("Failed to process a message of %s", self._name)

    @property
    def _name(self) -> str:
        return " ".join(Path(part).name for part in self._command.argv)


@asynccontextmanager
async def connect_to_supervisor() -> AsyncIterator[ControlPipe]:
    """Connect to the server, and yield the child's end of the pipe. The child must exit when `lines` ends.

    `received_end` is then True if the server stops normally, and False if the server was killed.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the server reacts to the signal, and stops this process
    pipe = await ControlPipe.open(socket.socket(fileno=os.dup(0)))
    try:
        yield pipe
    finally:
        pipe.close()


def _spawn(command: ChildCommand) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    our_end, their_end = socket.socketpair()
    with their_end:
        try:
            # The child has its own process group, so Ctrl-C reaches only the server, which stops the child. It stays in the
            # server's session: Linux divides CPU time among sessions first, and nice values count only within one (see sched(7)).
            process = subprocess.Popen(  # noqa: S603
                command.argv, stdin=their_end.fileno(), process_group=0, env=command.env, pass_fds=command.inherited_fds
            )
        except OSError:
            our_end.close()
            raise
    os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + command.niceness)
    return process, our_end
