"""Supervisor of a server's processes: it keeps them running, replaces all of them on SIGHUP, and stops them on SIGTERM.

The supervisor serves no requests. It opens the listening sockets, which its processes inherit, so connections wait in the
sockets' queues while processes are replaced, and are never refused.
"""

import asyncio
import logging
import os
import signal
import socket
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..notifications.systemd import READY, STOPPING, notify_systemd
from .process_group import ProcessGroup
from .supervised_process import ProcessDidNotStart

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Runs one group of processes at a time. During a reload, the new group runs beside the old one, which drains."""

    def __init__(self, create_group: Callable[[], ProcessGroup], sockets: Sequence[socket.socket] = ()) -> None:
        """`create_group` returns a new, stopped group. It is called once at the start and once for each reload.

        The supervisor closes `sockets`, which the processes inherit, before it stops the last group. Clients are then refused as
        soon as the processes have stopped listening, instead of waiting for an answer until the supervisor exits.
        """
        self._create_group = create_group
        self._sockets = sockets
        self._stop_requested, self._reload_requested = asyncio.Event(), asyncio.Event()
        self._draining: set[asyncio.Task[None]] = set()
        self._has_terminal = _has_terminal()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, and then stop all processes. Raises `ProcessDidNotStart` if the first group fails."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop_requested.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        group = await self._start_group()
        if group is not None:
            logger.info("All processes have started")
            notify_systemd(READY)
        try:
            while group is not None and await self._is_reload_next():
                group = await self._replace(group)
        finally:
            notify_systemd(STOPPING)
            for listener in self._sockets:
                listener.close()
            groups = [group.stop()] if group is not None else []
            await asyncio.gather(*groups, *self._draining)

    def _on_hangup(self) -> None:
        """Reload, or stop if the signal means that the terminal of this process was closed."""
        if self._has_terminal and not _has_terminal():
            self._stop_requested.set()
        else:
            self._reload_requested.set()

    async def _is_reload_next(self) -> bool:
        """Wait for a signal. Return True for a reload, and False for a stop."""
        requests = {asyncio.create_task(event.wait()) for event in (self._stop_requested, self._reload_requested)}
        await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
        for request in requests:
            request.cancel()
        self._reload_requested.clear()
        return not self._stop_requested.is_set()

    async def _replace(self, group: ProcessGroup) -> ProcessGroup:
        """Start a new group, and let the old group drain. Return the group that now serves: the old one if the start failed."""
        logger.info("Reloading: starting new processes")
        try:
            new = await self._start_group()
        except (ProcessDidNotStart, OSError) as error:
            logger.error("Reload failed, so the running processes continue: %s", error)  # noqa: TRY400  # expected errors
            return group
        if new is None:
            return group
        logger.info("Reloaded: the new processes serve, and the old processes finish their requests")
        draining = asyncio.create_task(group.stop())
        self._draining.add(draining)
        draining.add_done_callback(self._draining.discard)
        return new

    async def _start_group(self) -> ProcessGroup | None:
        """Return a new group that has started, or None if a stop was requested first."""
        group = self._create_group()
        starting, stopping = asyncio.create_task(group.start()), asyncio.create_task(self._stop_requested.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return None
        starting.result()
        return group


def _has_terminal() -> bool:
    """Return whether the standard input is an open terminal. After the terminal was closed, reading its attributes fails."""
    with suppress(termios.error, OSError, ValueError):
        return os.isatty(0) and bool(termios.tcgetattr(0))
    return False
