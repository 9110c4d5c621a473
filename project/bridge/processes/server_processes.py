"""Several server processes on the same listening sockets, with a supervisor: one process for each CPU core, for example."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from ..background.shutdown_deadline import Grace
from .message_relay import MessageRelay
from .process_group import ProcessGroup
from .supervised_process import ChildCommand, SupervisedProcess
from .supervisor import Supervisor

LISTEN_FDS_OPTION = "--listen-fds"  # the supervisor adds it and the file descriptors, such as 3,4, to a process's command
START_TIMEOUT_SECONDS = 60.0  # all processes start at the same time and share the cores


class ServerProcess(SupervisedProcess):
    """One server process. Passes its messages to all other processes."""

    def __init__(self, command: ChildCommand, relay: MessageRelay) -> None:
        super().__init__(command, partial(relay.publish, sender=self.send))
        self._relay = relay

    @asynccontextmanager
    async def running(self, *, grace: Grace) -> AsyncIterator[None]:
        """Keep the process running and pass messages to it while this context is open."""
        with self._relay.connected(self.send):
            async with super().running(grace=grace):
                yield


def run_server_processes(
    command: ChildCommand,
    sockets: Sequence[socket.socket],
    *,
    count: int,
    grace: float,
    create_companions: Callable[[MessageRelay], Sequence[SupervisedProcess]] = lambda _relay: (),
) -> None:
    """Run `count` server processes until SIGTERM or SIGINT. SIGHUP replaces all processes, so that they run new code.

    `create_companions` returns other processes of each generation. They start before the server processes, and stop after them.
    Raises `ProcessDidNotStart`.
    """
    relay, fds = MessageRelay(), [each.fileno() for each in sockets]
    server = ChildCommand(
        [*command.argv, LISTEN_FDS_OPTION, ",".join(map(str, fds))],
        env=command.env,
        inherited_fds=fds,
        niceness=0,
        start_timeout=START_TIMEOUT_SECONDS,
    )

    def create_group() -> ProcessGroup:
        return ProcessGroup([create_companions(relay), [ServerProcess(server, relay) for _ in range(count)]], grace=grace)

    asyncio.run(_run(create_group))


async def _run(create_group: Callable[[], ProcessGroup]) -> None:
    await Supervisor(create_group).run()
