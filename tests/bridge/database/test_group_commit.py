"""Shared commits: who comes at the same time shares a transaction, and nobody pays for another."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from django.db import IntegrityError

from project.accounts.models import User
from project.bridge.database.group_commit import GroupCommit
from project.bridge.database.transactions import run_in_transaction
from tests.processes import PATIENCE

pytestmark = pytest.mark.usefixtures("lent")

Commits = GroupCommit[str, str]


class Register:
    """Stores users, and remembers who came together. Its first transaction stays open until `go`."""

    def __init__(self) -> None:
        self.transactions: list[list[str]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, names: Sequence[str]) -> list[str | Exception]:
        """Create users; the name `root` is refused."""
        self.transactions.append(list(names))
        if len(self.transactions) == 1:
            self.begun.set()
            assert self.go.wait(PATIENCE)
        return [ValueError(name) if name == "root" else User.objects.create_user(name).username for name in names]


@pytest.fixture
def register() -> Register:
    """Empty."""
    return Register()


async def hold_open(commits: Commits, register: Register) -> "asyncio.Task[str]":
    """Begin a transaction, which ends with `go`: who comes now has to wait."""
    task = asyncio.create_task(commits.run("first"))
    assert await asyncio.to_thread(register.begun.wait, PATIENCE)
    return task


async def ask_for(commits: Commits, *names: str) -> "list[asyncio.Task[str]]":
    """Callers who have asked, and wait."""
    tasks = [asyncio.create_task(commits.run(name)) for name in names]
    await asyncio.sleep(0)  # each goes as far as it can
    return tasks


def stored() -> set[str]:
    """The names of all users."""
    return set(User.objects.values_list("username", flat=True))


@pytest.mark.anyio
async def test_who_comes_alone_is_committed_alone(register: Register) -> None:
    register.go.set()

    answer = await GroupCommit(register).run("ada")

    assert (answer, await run_in_transaction(stored)) == ("ada", {"ada"})


@pytest.mark.anyio
async def test_callers_that_wait_share_one_transaction(register: Register) -> None:
    commits = GroupCommit(register)
    first = await hold_open(commits, register)
    names = [f"user{number}" for number in range(50)]

    callers = [caller for some in (names[:20], names[20:]) for caller in await ask_for(commits, *some)]
    register.go.set()

    assert await asyncio.gather(first, *callers) == ["first", *names]
    assert register.transactions == [["first"], names]
    assert await run_in_transaction(stored) == {"first", *names}


@pytest.mark.anyio
async def test_no_more_than_the_most_share_one(register: Register) -> None:
    commits = GroupCommit(register, most=3)
    first = await hold_open(commits, register)

    callers = await ask_for(commits, *"abcdefg")
    register.go.set()
    await asyncio.gather(first, *callers)

    assert register.transactions == [["first"], [*"abc"], [*"def"], [*"g"]]


@pytest.mark.anyio
async def test_one_bad_item_fails_alone(register: Register) -> None:
    commits = GroupCommit(register)
    first = await hold_open(commits, register)

    callers = await ask_for(commits, "ada", "first", "eve")  # the second name is taken
    register.go.set()
    answers = await asyncio.gather(first, *callers, return_exceptions=True)

    assert [answers[0], answers[1], type(answers[2]), answers[3]] == ["first", "ada", IntegrityError, "eve"]
    assert register.transactions == [["first"], ["ada", "first", "eve"], ["ada"], ["first"], ["eve"]]
    assert await run_in_transaction(stored) == {"first", "ada", "eve"}


@pytest.mark.anyio
async def test_an_exception_that_is_an_answer_is_raised_to_its_asker_alone(register: Register) -> None:
    commits = GroupCommit(register)
    first = await hold_open(commits, register)

    callers = await ask_for(commits, "ada", "root", "eve")
    register.go.set()

    with pytest.raises(ValueError, match="root"):
        await callers[1]
    assert [await each for each in (first, callers[0], callers[2])] == ["first", "ada", "eve"]
    assert len(register.transactions) == 2
    assert await run_in_transaction(stored) == {"first", "ada", "eve"}


@pytest.mark.anyio
async def test_who_went_away_before_the_transaction_wants_nothing_of_it(register: Register) -> None:
    commits = GroupCommit(register)
    first = await hold_open(commits, register)

    callers = await ask_for(commits, "ada", "bob", "eve")
    callers[1].cancel()
    register.go.set()
    answers = [await each for each in (first, callers[0], callers[2])]

    assert answers == ["first", "ada", "eve"]
    assert register.transactions == [["first"], ["ada", "eve"]]


@pytest.mark.anyio
async def test_who_goes_away_during_the_transaction_takes_nothing_from_the_others(register: Register) -> None:
    commits = GroupCommit(register)
    first = await hold_open(commits, register)

    first.cancel()
    (other,) = await ask_for(commits, "ada")
    register.go.set()

    async with asyncio.timeout(PATIENCE):
        assert await other == "ada"
    assert await run_in_transaction(stored) == {"first", "ada"}  # it had begun


@pytest.mark.anyio
async def test_there_is_no_transaction_for_nobody(register: Register) -> None:
    commits = GroupCommit(register, most=2)
    first = await hold_open(commits, register)

    callers = await ask_for(commits, *"abc")
    for caller in callers[:2]:
        caller.cancel()
    register.go.set()

    assert [await each for each in (first, callers[2])] == ["first", "c"]
    assert register.transactions == [["first"], ["c"]]


def test_works_from_one_event_loop_after_another(register: Register) -> None:
    commits = GroupCommit(register)
    register.go.set()

    answers = [asyncio.run(commits.run(name)) for name in ("ada", "eve")]

    assert answers == ["ada", "eve"]


def test_what_waited_in_a_loop_that_ended_is_not_done_in_the_next(register: Register) -> None:
    commits = GroupCommit(register)

    async def leave_in_the_middle() -> None:
        await hold_open(commits, register)
        await ask_for(commits, "bob")

    asyncio.run(leave_in_the_middle())
    register.go.set()

    assert asyncio.run(commits.run("ada")) == "ada"
    assert register.transactions == [["first"], ["ada"]]
