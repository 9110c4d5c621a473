"""Transactions on the thread pool, with a database file that every thread sees.

tests/servers/test_postgresql.py tests the connections to PostgreSQL.
"""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from django.db import DatabaseError, close_old_connections, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DEFAULT_DB_ALIAS

from project.accounts.models import User
from project.bridge.database import transactions
from project.bridge.database.transactions import (
    POOL_SIZE,
    UNTRANSACTED_POOL_SIZE,
    call_in_transaction,
    close_threads,
    managed_connections,
    ping_database,
    run_in_thread,
    run_in_transaction,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def database_file(transactional_db: None) -> Iterator[None]:
    """A database file that all threads see. Committed rows stay until the end of the test."""
    yield
    close_threads()


@pytest.mark.pitfall(10, 12)
async def test_rows_are_committed_when_the_call_returns(database_file: None) -> None:
    await run_in_transaction(_create, "ada")

    assert await asyncio.to_thread(_names_on_a_new_connection) == ["ada"]


@pytest.mark.pitfall(10)
async def test_a_function_that_raises_is_rolled_back(database_file: None) -> None:
    with pytest.raises(ZeroDivisionError):
        await run_in_transaction(_create_and_fail, "ada")

    assert await run_in_transaction(_names) == []


@pytest.mark.pitfall(10)
async def test_rejects_a_transaction_inside_a_transaction(database_file: None) -> None:
    with pytest.raises(RuntimeError, match="durable"):
        await run_in_transaction(call_in_transaction, _create, "ada")


@pytest.mark.pitfall(11)
async def test_a_hundred_concurrent_calls_use_only_the_pools_connections(database_file: None) -> None:
    used = await asyncio.gather(*(run_in_transaction(_connection) for _ in range(100)))

    assert 1 <= len(set(used)) <= POOL_SIZE


@pytest.mark.pitfall(11, "11b")
async def test_the_pool_keeps_its_connections_although_conn_max_age_is_0(database_file: None) -> None:
    assert connections.settings[DEFAULT_DB_ALIAS]["CONN_MAX_AGE"] == 0
    first = await run_in_transaction(_connection)

    assert {await run_in_transaction(_connection) for _ in range(20)} == {first}


@pytest.mark.pitfall("11b")
async def test_a_django_request_keeps_its_connection_until_it_ends(database_file: None) -> None:
    first, second, after = await asyncio.to_thread(_two_calls_in_a_request)

    assert first is second
    assert after is None


@pytest.mark.pitfall(9)
async def test_replaces_a_broken_connection_on_its_own_thread(database_file: None) -> None:
    before = await run_in_transaction(_connection)
    with pytest.raises(DatabaseError):
        await run_in_transaction(_break_the_connection)

    after = await run_in_transaction(_connection)

    assert after[0] == before[0]
    assert after[1] is not before[1]


@pytest.mark.pitfall(9)
async def test_close_threads_closes_every_connection_and_the_next_call_opens_one(database_file: None) -> None:
    wrappers = await asyncio.gather(*(run_in_transaction(_wrapper) for _ in range(20)))

    close_threads()

    assert {wrapper.connection for wrapper in wrappers} == {None}
    assert await run_in_transaction(_names) == []


@pytest.mark.sqlite_only("PostgreSQL has no write lock; there, such functions lock the rows that they read")
@pytest.mark.pitfall(14)
async def test_concurrent_transactions_that_read_and_then_write_never_find_the_database_locked(database_file: None) -> None:
    await run_in_transaction(_create, "counter")

    await asyncio.gather(*(run_in_transaction(_read_then_write) for _ in range(40)))

    assert (await run_in_transaction(User.objects.get, username="counter")).first_name == "x" * 40


@pytest.mark.pitfall(24)
@pytest.mark.parametrize("run", [1, 2])
async def test_a_shared_connection_uses_the_tests_transaction(shared_test_connection: None, run: int) -> None:
    """Each run finds an empty database, because the first run's rollback also reverts the writes of the pool's thread."""
    await run_in_transaction(_create, "ada")
    await asyncio.gather(*(run_in_transaction(_create, f"guest{n}") for n in range(10)))

    assert len(await run_in_transaction(_names)) == 11
    assert await run_in_transaction(threading.get_ident) != threading.get_ident()


@pytest.mark.pitfall(24)
async def test_on_a_shared_connection_too_a_function_that_raises_is_rolled_back(shared_test_connection: None) -> None:
    await run_in_transaction(_create, "ada")
    with pytest.raises(ZeroDivisionError):
        await run_in_transaction(_create_and_fail, "bob")

    assert await run_in_transaction(_names) == ["ada"]


@pytest.mark.pitfall(24)
def test_a_shared_connection_waits_for_calls_whose_callers_are_gone(db: None) -> None:
    """A closed WebSocket, for example, leaves such a call behind. The call must not run in the next test's transaction."""
    started, release = threading.Event(), threading.Event()

    async def start_and_cancel() -> None:
        call = asyncio.ensure_future(run_in_transaction(_create_when_released, "ada", started, release))
        await asyncio.to_thread(started.wait)
        call.cancel()

    with transactions.shared_test_connection():
        asyncio.run(start_and_cancel())
        threading.Timer(0.1, release.set).start()

    assert release.is_set()
    assert _names() == ["ada"]


async def test_run_in_thread_uses_no_transaction_and_other_threads_than_the_pool(database_file: None) -> None:
    in_transaction, thread = await run_in_thread(_transaction_and_thread)
    pool = {await run_in_transaction(threading.get_ident) for _ in range(20)}

    assert not in_transaction
    assert thread not in pool


async def test_run_in_thread_does_not_block_transactions(database_file: None) -> None:
    release = threading.Event()
    slow = [asyncio.ensure_future(run_in_thread(release.wait)) for _ in range(2 * UNTRANSACTED_POOL_SIZE)]

    await run_in_transaction(_create, "ada")

    assert not any(call.done() for call in slow)
    release.set()
    await asyncio.gather(*slow)


def test_managed_connections_leaves_an_open_transaction_alone(db: None) -> None:
    _create("ada")
    with managed_connections():
        pass

    assert _names() == ["ada"]


def test_ping_runs_a_query(db: None, django_assert_num_queries: type) -> None:
    with django_assert_num_queries(1):
        ping_database()


def _create(name: str) -> None:
    User.objects.create_user(name)


def _create_when_released(name: str, started: threading.Event, release: threading.Event) -> None:
    started.set()
    release.wait()
    _create(name)


def _create_and_fail(name: str) -> None:
    _create(name)
    raise ZeroDivisionError


def _names() -> list[str]:
    return list(User.objects.order_by("username").values_list("username", flat=True))


def _names_on_a_new_connection() -> list[str]:
    try:
        return _names()
    finally:
        connection.close()


def _connection() -> tuple[int, object]:
    _names()
    return threading.get_ident(), connection.connection


def _two_calls_in_a_request() -> tuple[object, object, object]:
    """Return the connections of two calls, and the connection after Django's own cleanup at the end of a request."""
    used = call_in_transaction(_connection)[1], call_in_transaction(_connection)[1]
    close_old_connections()
    return *used, connection.connection


def _wrapper() -> BaseDatabaseWrapper:
    _names()
    return connections[DEFAULT_DB_ALIAS]


def _break_the_connection() -> None:
    _names()
    connection.connection.close()


def _transaction_and_thread() -> tuple[bool, int]:
    _names()
    return transaction.get_connection().in_atomic_block, threading.get_ident()


def _read_then_write() -> None:
    user = User.objects.get(username="counter")
    user.first_name += "x"
    user.save()
    assert transaction.get_connection().in_atomic_block
