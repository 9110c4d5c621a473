"""Notifications between processes and hosts through PostgreSQL's LISTEN and NOTIFY. A notification carries no data.

Each process has two connections of its own: one listens, and one notifies. So a notification is never part of a transaction that
writes data: at the commit of a NOTIFY, PostgreSQL holds a lock on the whole server. Notifications may be lost, for example while
the database is unavailable, so a subscriber must also poll.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql

from .process_messages import incoming, outgoing

logger = logging.getLogger(__name__)

RETRY_DELAY_SECONDS = 1.0  # between connections while PostgreSQL is unavailable
FLUSH_TIMEOUT_SECONDS = 1.0  # at the end, for the last notifications
TIMEOUT_SECONDS = 5.0  # for PostgreSQL to accept a connection or a notification
ERRORS = (psycopg.Error, OSError, TimeoutError)
# One transaction for all topics. It writes nothing that must survive a crash, so its commit, which holds the lock, does not wait
# for the disk.
_NOTIFY = "SELECT pg_notify(%s || topic, '') FROM unnest(%s::text[]) AS topic"
_COMMIT_WITHOUT_WAITING = "SET synchronous_commit = off"
# Arguments of Django's connections that concern only cursors.
_CURSOR_PARAMETERS = frozenset({"context", "cursor_factory", "row_factory", "prepare_threshold", "pool"})


class PostgreSQLNotifications:
    """Sends the topics of `process_messages.outgoing` to other processes, and sends their topics with `incoming`."""

    def __init__(self, parameters: Mapping[str, Any], *, topics: Collection[str], prefix: str) -> None:
        """Create it for the server of psycopg's connection `parameters`. `topics` are those that this process listens for.

        The names of PostgreSQL's channels are the topics with `prefix`.
        """
        self._parameters = {name: value for name, value in parameters.items() if name not in _CURSOR_PARAMETERS}
        self._topics = topics
        self._prefix = prefix
        self._pending: set[str] = set()
        self._has_pending, self._all_sent = asyncio.Event(), asyncio.Event()
        self._all_sent.set()
        self._own_process: int | None = None  # the server's process that sends this process's notifications
        self._failing: set[str] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen and notify while this context is open."""
        tasks = [asyncio.create_task(self._notify_forever())]
        if self._topics:
            tasks.append(asyncio.create_task(self._listen_forever()))
        try:
            with outgoing.subscribed(self._add):
                yield
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_TIMEOUT_SECONDS):
                    await self._all_sent.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, topic: str) -> None:
        self._pending.add(topic)
        self._has_pending.set()
        self._all_sent.clear()

    async def _connect(self) -> "psycopg.AsyncConnection[Any]":
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True)

    # Notifying

    async def _notify_forever(self) -> None:
        while True:
            await self._has_pending.wait()  # so that a process that only listens has one connection
            try:
                async with await self._connect() as connection:
                    await connection.execute(_COMMIT_WITHOUT_WAITING)
                    self._own_process = connection.info.backend_pid
                    await self._notify_until_failure(connection)
            except ERRORS as error:
                self._record_failure("notify", error)
            await asyncio.sleep(RETRY_DELAY_SECONDS)

    async def _notify_until_failure(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        while True:
            await self._has_pending.wait()
            self._has_pending.clear()
            topics, self._pending = self._pending, set()
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await connection.execute(_NOTIFY, (self._prefix, list(topics)))
            except ERRORS:
                self._pending |= topics
                self._has_pending.set()
                raise
            self._record_success("notify")
            if not self._pending:
                self._all_sent.set()

    # Listening

    async def _listen_forever(self) -> None:
        while True:
            try:
                async with await self._connect() as connection:
                    await self._listen(connection)
            except ERRORS as error:
                self._record_failure("listen", error)
            await asyncio.sleep(RETRY_DELAY_SECONDS)

    async def _listen(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        channels = {f"{self._prefix}{topic}": topic for topic in self._topics}
        async with asyncio.timeout(TIMEOUT_SECONDS):
            for channel in channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        self._record_success("listen")
        for topic in self._topics:
            incoming.send(topic)  # notifications may have been missed before
        async for notification in connection.notifies():
            if notification.pid != self._own_process and notification.channel in channels:
                incoming.send(channels[notification.channel])

    # Logging

    def _record_failure(self, operation: str, error: Exception) -> None:
        if not self._failing:
            name = type(error).__name__  # not the error message, which may contain hosts and user names
            logger.error("Notifications through PostgreSQL failed (%s); polling for changes until they work again", name)
        self._failing.add(operation)

    def _record_success(self, operation: str) -> None:
        if operation in self._failing:
            self._failing.remove(operation)
            if not self._failing:
                logger.warning("Notifications through PostgreSQL work again")
