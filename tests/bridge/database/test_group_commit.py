"""Group commit: concurrent callers share a transaction, and one caller's error does not affect other callers."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from django.db import IntegrityError, OperationalError

from project.accounts.models import User
from project.bridge.database import group_commit
from project.bridge.database.group_commit import GroupCommit, GroupCommitLimits
from project.bridge.database.transactions import run_in_transaction
from project.bridge.middleware.request_id import current_request_id, running_for_request
from tests.processes import WAIT_TIMEOUT_SECONDS

pytestmark = pytest.mark.usefixtures("shared_test_connection")

Commits = GroupCommit[str, str]


def length(name: str) -> int:
    """Return the size of an item."""
    return len(name)


class CreateUsers:
    """A function for group commit. It creates users, and records the names of each call in `transactions`.

    Its first transaction stays open until a test sets `release`. Each item's result is the user's name, except for `root`, whose
    result is a ValueError.
    """

    def __init__(self) -> None:
        self.transactions: list[list[str]] = []
        self.started, self.release = threading.Event(), threading.Event()

    def __call__(self, names: Sequence[str]) -> list[str | Exception]:
        """Create the users."""
        self.transactions.append(list(names))
        if len(self.transactions) == 1:
            self.started.set()
            assert self.release.wait(WAIT_TIMEOUT_SECONDS)
        return [ValueError(name) if name == "root" else User.objects.create_user(name).username for name in names]


@pytest.fixture
def create_users() -> CreateUsers:
    """Return a new `CreateUsers` that has not run a transaction."""
    return CreateUsers()


async def hold_first_transaction(commits: Commits, create_users: CreateUsers) -> "asyncio.Task[str]":
    """Start a transaction that stays open until `release` is set, so that later callers have to wait."""
    task = asyncio.create_task(commits.run("first"))
    assert await asyncio.to_thread(create_users.started.wait, WAIT_TIMEOUT_SECONDS)
    return task


async def start_callers(commits: Commits, *names: str) -> "list[asyncio.Task[str]]":
    """Start one task per name. Return the tasks, which wait for their results."""
    tasks = [asyncio.create_task(commits.run(name)) for name in names]
    await asyncio.sleep(0)  # let each task run until it waits
    return tasks


def stored_names() -> set[str]:
    """Return the names of all users."""
    return set(User.objects.values_list("username", flat=True))


@pytest.mark.anyio
async def test_commits_a_single_caller_at_once(create_users: CreateUsers) -> None:
    create_users.release.set()

    result = await GroupCommit(create_users).run("ada")

    assert (result, await run_in_transaction(stored_names)) == ("ada", {"ada"})


@pytest.mark.anyio
async def test_waiting_callers_share_one_transaction(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users)
    first = await hold_first_transaction(commits, create_users)
    names = [f"user{number}" for number in range(50)]

    callers = [caller for some in (names[:20], names[20:]) for caller in await start_callers(commits, *some)]
    create_users.release.set()

    assert await asyncio.gather(first, *callers) == ["first", *names]
    assert create_users.transactions == [["first"], names]
    assert await run_in_transaction(stored_names) == {"first", *names}


@pytest.mark.anyio
async def test_a_transaction_has_at_most_max_items(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users, max_items=3)
    first = await hold_first_transaction(commits, create_users)

    callers = await start_callers(commits, *"abcdefg")
    create_users.release.set()
    await asyncio.gather(first, *callers)

    assert create_users.transactions == [["first"], [*"abc"], [*"def"], [*"g"]]


@pytest.mark.anyio
async def test_one_bad_item_fails_alone(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users)
    first = await hold_first_transaction(commits, create_users)

    callers = await start_callers(commits, "ada", "first", "eve")  # "first" already exists
    create_users.release.set()
    results = await asyncio.gather(first, *callers, return_exceptions=True)

    assert [results[0], results[1], type(results[2]), results[3]] == ["first", "ada", IntegrityError, "eve"]
    assert create_users.transactions == [["first"], ["ada", "first", "eve"], ["ada"], ["first"], ["eve"]]
    assert await run_in_transaction(stored_names) == {"first", "ada", "eve"}


@pytest.mark.anyio
async def test_raises_an_exception_among_the_results_to_its_caller_only(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users)
    first = await hold_first_transaction(commits, create_users)

    callers = await start_callers(commits, "ada", "root", "eve")
    create_users.release.set()

    with pytest.raises(ValueError, match="root"):
        await callers[1]
    assert [await each for each in (first, callers[0], callers[2])] == ["first", "ada", "eve"]
    assert len(create_users.transactions) == 2
    assert await run_in_transaction(stored_names) == {"first", "ada", "eve"}


@pytest.mark.anyio
async def test_skips_a_caller_that_was_canceled_before_the_transaction(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users)
    first = await hold_first_transaction(commits, create_users)

    callers = await start_callers(commits, "ada", "bob", "eve")
    callers[1].cancel()
    create_users.release.set()
    results = [await each for each in (first, callers[0], callers[2])]

    assert results == ["first", "ada", "eve"]
    assert create_users.transactions == [["first"], ["ada", "eve"]]


@pytest.mark.anyio
async def test_a_caller_canceled_during_the_transaction_does_not_affect_others(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users)
    first = await hold_first_transaction(commits, create_users)

    first.cancel()
    (other,) = await start_callers(commits, "ada")
    create_users.release.set()

    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        assert await other == "ada"
    assert await run_in_transaction(stored_names) == {"first", "ada"}  # the canceled caller's transaction was already running


@pytest.mark.anyio
async def test_starts_no_transaction_if_all_its_callers_were_canceled(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users, max_items=2)
    first = await hold_first_transaction(commits, create_users)

    callers = await start_callers(commits, *"abc")
    for caller in callers[:2]:
        caller.cancel()
    create_users.release.set()

    assert [await each for each in (first, callers[2])] == ["first", "c"]
    assert create_users.transactions == [["first"], ["c"]]


def test_works_in_one_event_loop_after_another(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users)
    create_users.release.set()

    results = [asyncio.run(commits.run(name)) for name in ("ada", "eve")]

    assert results == ["ada", "eve"]


def test_drops_items_that_waited_in_an_earlier_event_loop(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users)

    async def stop_while_waiting() -> None:
        await hold_first_transaction(commits, create_users)
        await start_callers(commits, "bob")

    asyncio.run(stop_while_waiting())
    create_users.release.set()

    assert asyncio.run(commits.run("ada")) == "ada"
    assert create_users.transactions == [["first"], ["ada"]]


@pytest.mark.anyio
async def test_a_transaction_has_a_maximum_number_of_bytes(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users, limits=GroupCommitLimits(length, commit_bytes=6))
    first = await hold_first_transaction(commits, create_users)
    callers = await start_callers(commits, "ada", "bob", "eve", "christopher")
    create_users.release.set()

    await asyncio.gather(first, *callers)

    assert create_users.transactions == [["first"], ["ada", "bob"], ["eve"], ["christopher"]]


@pytest.mark.anyio
async def test_rejects_an_item_while_too_many_bytes_wait(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users, limits=GroupCommitLimits(length, waiting_bytes=6))
    first = await hold_first_transaction(commits, create_users)
    [ada] = await start_callers(commits, "ada")

    with pytest.raises(OperationalError, match="too much data is waiting"):
        await commits.run("grace")
    create_users.release.set()

    assert [await first, await ada, await commits.run("grace")] == ["first", "ada", "grace"]


@pytest.mark.anyio
async def test_an_item_that_waits_too_long_is_rejected_and_not_committed(create_users: CreateUsers) -> None:
    commits = GroupCommit(create_users, limits=GroupCommitLimits(length, wait_seconds=1.0))
    first = await hold_first_transaction(commits, create_users)

    results = await asyncio.gather(commits.run("ada"), first, return_exceptions=True)
    create_users.release.set()

    assert [type(result) for result in results] == [OperationalError, OperationalError]
    assert await commits.run("bob") == "bob"
    assert create_users.transactions == [["first"], ["bob"]]


@pytest.mark.anyio
async def test_a_locked_row_fails_only_the_items_that_need_the_row(create_users: CreateUsers) -> None:
    def lock_timeout(names: Sequence[str]) -> list[str | Exception]:
        results = create_users(names)
        if any(name.startswith("locked") for name in names):
            raise OperationalError("canceling statement due to lock timeout")
        return results

    commits = GroupCommit(lock_timeout, limits=GroupCommitLimits(length, row_of=lambda name: name[:6]))
    first = await hold_first_transaction(commits, create_users)
    callers = await start_callers(commits, "locked1", "ada", "locked2", "locked3", "bob")
    create_users.release.set()
    results = await asyncio.gather(first, *callers, return_exceptions=True)

    assert [str(result) for result in results if isinstance(result, str)] == ["first", "ada", "bob"]
    assert create_users.transactions[2:] == [["locked1"], ["ada"], ["bob"]]


@pytest.mark.anyio
async def test_an_unavailable_database_fails_all_items_after_two_retries(create_users: CreateUsers) -> None:
    def fail(names: Sequence[str]) -> list[str | Exception]:
        if create_users(names) == ["first"]:
            return ["first"]
        raise OperationalError("connection refused")

    commits = GroupCommit(fail, limits=GroupCommitLimits(length))
    first = await hold_first_transaction(commits, create_users)
    callers = await start_callers(commits, "a", "b", "c", "d", "e")
    create_users.release.set()
    results = await asyncio.gather(first, *callers, return_exceptions=True)

    assert [type(result) for result in results] == [str, *[OperationalError] * 5]
    assert create_users.transactions[2:] == [["a"], ["b"]]


@pytest.mark.anyio
async def test_the_transaction_has_none_of_its_callers_context_variables() -> None:
    def read(items: Sequence[str]) -> list[str]:
        return [str(current_request_id()) for _ in items]

    with running_for_request("first"):
        assert await GroupCommit(read).run("item") == "None"


@pytest.mark.anyio
async def test_callers_that_arrive_while_the_transaction_waits_to_start_share_it(
    create_users: CreateUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, go_on = asyncio.Event(), asyncio.Event()

    async def run_later(function: Callable[..., object], *arguments: object) -> object:
        waits.set()
        await go_on.wait()  # as for the write lock, which another process holds
        return await run_in_transaction(function, *arguments)

    monkeypatch.setattr(group_commit, "run_in_transaction", run_later)
    create_users.release.set()
    commits = Commits(create_users)
    first = asyncio.create_task(commits.run("first"))
    await waits.wait()
    others = await start_callers(commits, "ada", "bob")
    go_on.set()

    assert list(await asyncio.gather(first, *others)) == ["first", "ada", "bob"]
    assert create_users.transactions == [["first", "ada", "bob"]]


@pytest.mark.anyio
async def test_a_transaction_that_does_not_start_fails_only_after_each_item_was_tried_alone(
    create_users: CreateUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OperationalError("locked")]

    async def fail_once(function: Callable[..., object], *arguments: object) -> object:
        if failures:
            raise failures.pop()
        return await run_in_transaction(function, *arguments)

    monkeypatch.setattr(group_commit, "run_in_transaction", fail_once)
    create_users.release.set()
    commits = Commits(create_users)

    assert list(await asyncio.gather(commits.run("ada"), commits.run("bob"))) == ["ada", "bob"]
    assert create_users.transactions == [["ada"], ["bob"]]
