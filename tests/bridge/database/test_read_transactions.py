"""Read-only transactions, with a database file that every thread sees.

tests/servers/test_postgresql.py tests the connections to PostgreSQL.
"""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from django.db import connection

from project.accounts.models import User
from project.bridge.database.read_transactions import (
    READ_POOL_SIZE,
    WriteInReadTransaction,
    run_in_read_transaction,
    run_lookup,
)
from project.bridge.database.transactions import acquire_write_lock, close_threads, run_in_transaction

pytestmark = pytest.mark.anyio

TIMEOUT_SECONDS = 30.0  # of waits that end at once if the code works
both_reads = pytest.mark.parametrize("read", [run_in_read_transaction, run_lookup])


@pytest.fixture
def database_file(transactional_db: None) -> Iterator[None]:
    """A database file that all threads see. Committed rows stay until the end of the test."""
    yield
    close_threads()


@both_reads
async def test_a_read_neither_waits_for_a_writer_nor_sees_its_changes(database_file: None, read: type) -> None:
    written, finish = threading.Event(), threading.Event()
    writer = asyncio.ensure_future(run_in_transaction(_create_and_wait, "ada", written, finish))
    await asyncio.to_thread(written.wait, TIMEOUT_SECONDS)

    during = await read(_names)

    assert not writer.done()
    finish.set()
    await writer
    assert (during, await read(_names)) == ([], ["ada"])


async def test_a_writer_does_not_wait_for_a_read(database_file: None) -> None:
    finish = threading.Event()
    reads = [asyncio.ensure_future(run_in_read_transaction(_read_and_wait, finish)) for _ in range(2 * READ_POOL_SIZE)]

    await run_in_transaction(User.objects.create_user, "ada")

    assert not any(read.done() for read in reads)
    finish.set()
    assert (await asyncio.gather(*reads))[-1] == ["ada"]


async def test_a_lookup_does_not_wait_for_slow_reads(database_file: None) -> None:
    finish = threading.Event()
    reads = [asyncio.ensure_future(run_in_read_transaction(finish.wait, TIMEOUT_SECONDS)) for _ in range(2 * READ_POOL_SIZE)]

    assert await run_lookup(_names) == []

    assert not any(read.done() for read in reads)
    finish.set()
    await asyncio.gather(*reads)


@pytest.mark.sqlite_only("on PostgreSQL, each query sees the latest commits, as project/events/commit_order.py needs it")
@both_reads
async def test_all_queries_of_a_read_see_the_same_state(database_file: None, read: type) -> None:
    started, proceed = threading.Event(), threading.Event()

    def read_twice() -> tuple[list[str], list[str]]:
        first = _names()
        started.set()
        proceed.wait(TIMEOUT_SECONDS)
        return first, _names()

    reading = asyncio.ensure_future(read(read_twice))
    await asyncio.to_thread(started.wait, TIMEOUT_SECONDS)
    await run_in_transaction(User.objects.create_user, "ada")
    proceed.set()

    assert await reading == ([], [])


@both_reads
@pytest.mark.parametrize("statement", ["create", "update", "delete"])
async def test_a_read_that_writes_fails_and_names_the_statement(database_file: None, read: type, statement: str) -> None:
    writes = {
        "create": lambda: User.objects.create(username="bob"),
        "update": lambda: User.objects.update(first_name="Bob"),
        "delete": lambda: User.objects.filter(username="ada").delete(),
    }
    await run_in_transaction(User.objects.create_user, "ada")

    with pytest.raises(WriteInReadTransaction, match=r"it writes: (INSERT|UPDATE|DELETE)"):
        await read(writes[statement])

    assert await read(_names) == ["ada"]


async def test_the_database_rejects_a_write_that_is_not_recognized(database_file: None) -> None:
    def write_without_django() -> None:
        connection.connection.execute("UPDATE accounts_user SET first_name = 'Bob'")

    with pytest.raises(Exception, match=r"readonly database|read-only transaction"):
        await run_in_read_transaction(write_without_django)


async def test_a_shared_connection_rejects_writes_too_and_stays_writable(shared_test_connection: None) -> None:
    with pytest.raises(WriteInReadTransaction):
        await run_in_read_transaction(User.objects.create_user, "ada")

    await run_in_transaction(User.objects.create_user, "bob")
    assert await run_in_read_transaction(_names) == ["bob"]


def test_a_shared_connection_lets_the_test_write_during_a_read(shared_test_connection: None) -> None:
    started, finish = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        finish.wait(TIMEOUT_SECONDS)

    reading = threading.Thread(target=lambda: asyncio.run(run_in_read_transaction(wait)))
    reading.start()
    started.wait(TIMEOUT_SECONDS)

    User.objects.update(first_name="Ada")

    finish.set()
    reading.join()


async def test_a_read_does_not_wait_for_another_holder_of_the_write_lock(database_file: None) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with acquire_write_lock():
            held.set()
            release.wait(TIMEOUT_SECONDS)

    holder = threading.Thread(target=hold)
    holder.start()
    await asyncio.to_thread(held.wait, TIMEOUT_SECONDS)

    assert await run_in_read_transaction(_names) == []

    assert holder.is_alive()
    release.set()
    holder.join()


def _names() -> list[str]:
    return list(User.objects.order_by("username").values_list("username", flat=True))


def _create_and_wait(name: str, written: threading.Event, finish: threading.Event) -> None:
    User.objects.create_user(name)
    written.set()
    finish.wait(TIMEOUT_SECONDS)


def _read_and_wait(finish: threading.Event) -> list[str]:
    finish.wait(TIMEOUT_SECONDS)
    return _names()
