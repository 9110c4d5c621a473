"""Several server processes on the same listening sockets, with a supervisor: one process for each CPU core, for example."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle

from ..background.shutdown_deadline import Grace
from .connection_counts import create_shared_counts
from .message_relay import MessageRelay
from .process_group import ProcessGroup
from .supervised_process import ChildCommand, SupervisedProcess
from .supervisor import Supervisor

# The supervisor adds these options to a process's command.
LISTEN_FDS_OPTION = "--listen-fds"  # the file descriptors of the listening sockets, such as 3,4
CONNECTION_COUNTS_OPTION = "--connection-counts"  # the argument of `SharedConnectionCounts`
GENERATIONS = 2  # that may run at the same time: the processes that serve, and those that drain
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
    counts, numbers = create_shared_counts(GENERATIONS * count), cycle(range(GENERATIONS * count))

    def create_server() -> ServerProcess:
        options = [LISTEN_FDS_OPTION, ",".join(map(str, fds)), CONNECTION_COUNTS_OPTION, f"{counts}:{next(numbers)}"]
        return ServerProcess(
            ChildCommand(
                [*command.argv, *options],
                env=command.env,
                inherited_fds=[*fds, counts],
                niceness=0,
                start_timeout=START_TIMEOUT_SECONDS,
            ),
            relay,
        )

    def create_group() -> ProcessGroup:
        return ProcessGroup([create_companions(relay), [create_server() for _ in range(count)]], grace=grace)

    asyncio.run(_run(create_group, sockets))


async def _run(create_group: Callable[[], ProcessGroup], sockets: Sequence[socket.socket]) -> None:
    await Supervisor(create_group, sockets).run()
