"""A group of supervised processes that start and stop together, such as the processes that run one version of the code."""

import asyncio
from collections.abc import Sequence

from ..background.shutdown_deadline import ShutdownDeadline
from .supervised_process import ProcessDidNotStart, SupervisedProcess


class ProcessGroup:
    """Starts the processes of each stage together, one stage after the other. Stops the stages in reverse order."""

    def __init__(self, stages: Sequence[Sequence[SupervisedProcess]], *, grace: float) -> None:
        """Create a stopped group. All processes share `grace`, the seconds that they may take to stop."""
        self._deadline = ShutdownDeadline(grace)
        self._stages = [[_Member(process) for process in stage] for stage in stages]

    @property
    def is_healthy(self) -> bool:
        """Return whether all processes have sent a heartbeat lately."""
        return all(member.process.is_alive for stage in self._stages for member in stage)

    async def start(self) -> None:
        """Start all processes, and wait for their first heartbeats.

        Raises `ProcessDidNotStart` if a process exits first, or if it still has sent no heartbeat after its `start_timeout`. Then
        all processes are stopped.
        """
        try:
            for stage in self._stages:
                for member in stage:
                    member.start(self._deadline)
                for member in stage:
                    await member.wait_until_started()
            if not self.is_healthy:
                raise ProcessDidNotStart("a process sent no heartbeat in time; see the log above")
        except BaseException:  # also a cancellation
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all processes. They finish their work within the grace period, which starts now."""
        self._deadline.start()
        for stage in reversed(self._stages):
            await asyncio.gather(*(member.stop() for member in stage))


class _Member:
    """A task that keeps one process running."""

    def __init__(self, process: SupervisedProcess) -> None:
        self.process = process
        self._started, self._stopping = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, deadline: ShutdownDeadline) -> None:
        self._task = asyncio.create_task(self._run(deadline))

    async def _run(self, deadline: ShutdownDeadline) -> None:
        async with self.process.running(grace=deadline):
            self._started.set()
            await self._stopping.wait()

    async def wait_until_started(self) -> None:
        """Wait for the first heartbeat. Raises `ProcessDidNotStart`."""
        if self._task is None:
            return
        started = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait({started, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        if self._task is None:
            return
        self._stopping.set()
        if not self._started.is_set():
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
