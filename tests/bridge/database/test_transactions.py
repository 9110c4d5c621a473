"""The door to the ORM, on a database file that every thread sees. tests/servers/test_postgresql.py has the same on PostgreSQL."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from django.db import DatabaseError, close_old_connections, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DEFAULT_DB_ALIAS

from project.accounts.models import User
from project.bridge.database.transactions import (
    POOL_SIZE,
    UNTRANSACTED_POOL_SIZE,
    call_in_transaction,
    close_threads,
    managed_connections,
    ping_database,
    run_in_thread,
    run_in_transaction,
    shared_test_connection,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def shared(transactional_db: None) -> Iterator[None]:
    """A database that all threads see: what is committed stays until the end of the test."""
    yield
    close_threads()


@pytest.mark.pitfall(10, 12)
async def test_what_a_function_wrote_is_committed_when_the_call_returns(shared: None) -> None:
    await run_in_transaction(_create, "ada")

    assert await asyncio.to_thread(_names_on_a_new_connection) == ["ada"]


@pytest.mark.pitfall(10)
async def test_a_function_that_raises_leaves_nothing_behind(shared: None) -> None:
    with pytest.raises(ZeroDivisionError):
        await run_in_transaction(_create_and_fail, "ada")

    assert await run_in_transaction(_names) == []


@pytest.mark.pitfall(10)
async def test_a_transaction_cannot_be_opened_inside_another(shared: None) -> None:
    with pytest.raises(RuntimeError, match="durable"):
        await run_in_transaction(call_in_transaction, _create, "ada")


@pytest.mark.pitfall(11)
async def test_a_hundred_calls_at_once_need_no_more_connections_than_the_pool_has(shared: None) -> None:
    seen = await asyncio.gather(*(run_in_transaction(_connection) for _ in range(100)))

    assert 1 <= len(set(seen)) <= POOL_SIZE


@pytest.mark.pitfall(11, "11b")
async def test_connections_are_kept_from_call_to_call_whatever_the_age_of_djangos_own(shared: None) -> None:
    assert connections.settings[DEFAULT_DB_ALIAS]["CONN_MAX_AGE"] == 0
    first = await run_in_transaction(_connection)

    assert {await run_in_transaction(_connection) for _ in range(20)} == {first}


@pytest.mark.pitfall("11b")
async def test_a_request_of_djangos_keeps_its_connection_until_it_ends(shared: None) -> None:
    first, second, after = await asyncio.to_thread(_two_calls_in_a_request)

    assert first is second
    assert after is None


@pytest.mark.pitfall(9)
async def test_a_connection_that_broke_is_replaced_on_its_own_thread(shared: None) -> None:
    before = await run_in_transaction(_connection)
    with pytest.raises(DatabaseError):
        await run_in_transaction(_break_the_connection)

    after = await run_in_transaction(_connection)

    assert after[0] == before[0]
    assert after[1] is not before[1]


@pytest.mark.pitfall(9)
async def test_close_closes_every_connection_and_the_next_call_opens_one(shared: None) -> None:
    wrappers = await asyncio.gather(*(run_in_transaction(_wrapper) for _ in range(20)))

    close_threads()

    assert {wrapper.connection for wrapper in wrappers} == {None}
    assert await run_in_transaction(_names) == []


@pytest.mark.pitfall(14)
async def test_many_that_read_and_then_write_at_once_find_no_lock(shared: None) -> None:
    await run_in_transaction(_create, "counter")

    await asyncio.gather(*(run_in_transaction(_read_then_write) for _ in range(40)))

    assert (await run_in_transaction(User.objects.get, username="counter")).first_name == "x" * 40


@pytest.mark.pitfall(24)
@pytest.mark.parametrize("turn", [1, 2])
async def test_a_lent_connection_shares_the_tests_transaction(lent: None, turn: int) -> None:
    """Each turn finds the database empty: the first one's rollback took back what the pool's thread wrote."""
    await run_in_transaction(_create, "ada")
    await asyncio.gather(*(run_in_transaction(_create, f"guest{n}") for n in range(10)))

    assert len(await run_in_transaction(_names)) == 11
    assert await run_in_transaction(threading.get_ident) != threading.get_ident()


@pytest.mark.pitfall(24)
async def test_a_function_that_raises_rolls_back_to_where_it_began_on_a_lent_connection_too(lent: None) -> None:
    await run_in_transaction(_create, "ada")
    with pytest.raises(ZeroDivisionError):
        await run_in_transaction(_create_and_fail, "bob")

    assert await run_in_transaction(_names) == ["ada"]


@pytest.mark.pitfall(24)
def test_a_loan_ends_when_all_that_was_begun_in_it_has_ended(db: None) -> None:
    """Whoever asked may be gone, as a closed socket is: its call must not go on in the next test's transaction."""
    begun, go = threading.Event(), threading.Event()

    async def ask_and_leave() -> None:
        call = asyncio.ensure_future(run_in_transaction(_create_when_told, "ada", begun, go))
        await asyncio.to_thread(begun.wait)
        call.cancel()

    with shared_test_connection():
        asyncio.run(ask_and_leave())
        threading.Timer(0.1, go.set).start()

    assert go.is_set()
    assert _names() == ["ada"]


async def test_what_takes_long_is_run_aside_in_no_transaction(shared: None) -> None:
    in_transaction, thread = await run_in_thread(_where_am_i)
    pool = {await run_in_transaction(threading.get_ident) for _ in range(20)}

    assert not in_transaction
    assert thread not in pool


async def test_what_is_run_aside_keeps_nobody_from_the_pool(shared: None) -> None:
    go = threading.Event()
    slow = [asyncio.ensure_future(run_in_thread(go.wait)) for _ in range(2 * UNTRANSACTED_POOL_SIZE)]

    await run_in_transaction(_create, "ada")

    assert not any(call.done() for call in slow)
    go.set()
    await asyncio.gather(*slow)


def test_a_transaction_of_someone_elses_is_left_alone(db: None) -> None:
    _create("ada")
    with managed_connections():
        pass

    assert _names() == ["ada"]


def test_ping_asks_the_database(db: None, django_assert_num_queries: type) -> None:
    with django_assert_num_queries(1):
        ping_database()


def _create(name: str) -> None:
    User.objects.create_user(name)


def _create_when_told(name: str, begun: threading.Event, go: threading.Event) -> None:
    begun.set()
    go.wait()
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
    """The connection in the first, in the second, and when Django has tended it as it does after each request."""
    seen = call_in_transaction(_connection)[1], call_in_transaction(_connection)[1]
    close_old_connections()
    return *seen, connection.connection


def _wrapper() -> BaseDatabaseWrapper:
    _names()
    return connections[DEFAULT_DB_ALIAS]


def _break_the_connection() -> None:
    _names()
    connection.connection.close()


def _where_am_i() -> tuple[bool, int]:
    _names()
    return transaction.get_connection().in_atomic_block, threading.get_ident()


def _read_then_write() -> None:
    user = User.objects.get(username="counter")
    user.first_name += "x"
    user.save()
    assert transaction.get_connection().in_atomic_block
