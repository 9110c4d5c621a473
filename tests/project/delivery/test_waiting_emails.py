"""Emails that wait for a connection: slow recipients do not get all connections."""

import asyncio
from collections import Counter

import pytest

from project.delivery.waiting_emails import SLOW_SECONDS, WaitingEmails, share_of
from project.emails.models import Email
from project.emails.priority import Priority
from tests.project.transports.fake_relay import unsaved_email

pytestmark = pytest.mark.anyio

FAST, SLOW = 0.1, SLOW_SECONDS


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


async def started(waiting: WaitingEmails, limit: int = 100) -> list[Email]:
    """Take emails until none may start, and return them."""
    emails: list[Email] = []
    while len(waiting) and len(emails) < limit:
        try:
            async with asyncio.timeout(0):
                emails.append(await waiting.get())
        except TimeoutError:
            break
    return emails


def put(waiting: WaitingEmails, count: int, *to: str, priority: Priority = Priority.NORMAL) -> None:
    """Put emails to these recipients."""
    for _ in range(count):
        waiting.put(unsaved_email(*to, priority=priority))


async def respond(waiting: WaitingEmails, address: str, seconds: float) -> None:
    """Send one email to an address, and let it take some seconds."""
    put(waiting, 1, address)
    (email,) = await started(waiting)
    waiting.done(email, seconds)


@pytest.mark.parametrize(("connections", "share"), [(1, 1), (2, 1), (3, 2), (4, 3), (10, 8), (20, 15), (500, 375)])
def test_slow_recipients_get_three_quarters_of_the_connections(connections: int, share: int) -> None:
    assert share_of(connections) == share


async def test_emails_to_other_domains_pass_those_to_a_slow_domain() -> None:
    waiting = WaitingEmails(4)
    await respond(waiting, "a@slow.example", SLOW)
    put(waiting, 9, "ada@Slow.example")
    put(waiting, 1, "bob@example.com")

    emails = await started(waiting)

    assert [email.recipients[0] for email in emails] == ["ada@Slow.example"] * 3 + ["bob@example.com"]
    assert (waiting.blocked, waiting.blocked_domains) == (6, frozenset({"slow.example"}))


async def test_a_fast_domain_gets_all_connections() -> None:
    waiting = WaitingEmails(4)
    await respond(waiting, "a@example.com", FAST)
    put(waiting, 4, "ada@example.com")

    assert (len(await started(waiting)), waiting.blocked, waiting.blocked_domains) == (4, 0, frozenset())


async def test_a_domain_that_has_not_responded_yet_does_not_get_all_connections() -> None:
    waiting = WaitingEmails(4)
    put(waiting, 4, "ada@new.example")
    put(waiting, 1, "bob@example.com")

    assert [email.recipients[0] for email in await started(waiting)] == ["ada@new.example"] * 3 + ["bob@example.com"]


async def test_several_slow_domains_share_their_connections() -> None:
    waiting = WaitingEmails(4)
    for number in range(6):
        await respond(waiting, f"a@slow{number}.example", SLOW)
    for number in range(6):
        put(waiting, 1, f"ada@slow{number}.example", "eve@example.com")

    assert len(await started(waiting)) == 3


async def test_a_domain_is_slow_while_an_email_to_it_takes_long() -> None:
    clock = Clock()
    waiting = WaitingEmails(4, clock)
    await respond(waiting, "a@example.com", FAST)
    put(waiting, 3, "ada@example.com")
    await started(waiting)
    clock.now += SLOW
    put(waiting, 1, "ada@example.com")

    assert (await started(waiting), waiting.blocked) == ([], 1)


async def test_an_email_whose_turn_has_come_starts_when_a_connection_is_free() -> None:
    waiting = WaitingEmails(2)
    await respond(waiting, "a@slow.example", SLOW)
    put(waiting, 2, "ada@slow.example")
    (first,) = await started(waiting)
    getter = asyncio.create_task(waiting.get())
    await asyncio.sleep(0)
    is_waiting = not getter.done()

    waiting.done(first, SLOW)

    assert is_waiting
    assert (await getter).recipients == ["ada@slow.example"]


async def test_a_getter_that_gives_up_passes_its_wake_up_on() -> None:
    waiting = WaitingEmails(2)
    first, second = (asyncio.create_task(waiting.get()) for _ in range(2))
    await asyncio.sleep(0)

    put(waiting, 1, "ada@example.com")
    first.cancel()

    assert (await second).recipients == ["ada@example.com"]


async def prioritized(connections: int, *counts: int) -> WaitingEmails:
    """Return a queue with as many emails of low, normal and high priority, to a domain that responds fast."""
    waiting = WaitingEmails(connections)
    await respond(waiting, "a@example.com", FAST)
    for priority, count in zip(reversed(Priority), counts, strict=True):
        put(waiting, count, "ada@example.com", priority=priority)
    return waiting


async def test_the_most_urgent_email_is_first() -> None:
    waiting = await prioritized(3, 1, 1, 1)

    assert [email.priority for email in await started(waiting)] == ["high", "normal", "low"]


async def test_emails_of_low_priority_leave_connections_free() -> None:
    waiting = await prioritized(4, 50, 0, 0)
    before = await started(waiting)
    put(waiting, 1, "ada@example.com", priority=Priority.HIGH)

    assert [email.priority for email in before] == ["low"] * 3
    assert [email.priority for email in await started(waiting)] == ["high"]


async def test_emails_of_low_priority_that_wait_are_not_blocked_by_their_recipients() -> None:
    waiting = await prioritized(4, 50, 0, 0)
    await started(waiting)

    assert (waiting.blocked, waiting.blocked_domains) == (0, frozenset())


@pytest.mark.parametrize(("highs", "normals"), [(0, 4), (1, 3)])
async def test_emails_of_normal_priority_leave_a_connection_free_if_high_priority_is_used(highs: int, normals: int) -> None:
    waiting = await prioritized(4, 0, 0, highs)
    for email in await started(waiting):
        waiting.done(email, FAST)
    put(waiting, 9, "ada@example.com")

    assert len(await started(waiting)) == normals


async def test_emails_of_low_priority_get_a_share_of_the_turns() -> None:
    waiting = await prioritized(100, 20, 20, 20)

    assert Counter(email.priority for email in await started(waiting, 20)) == {"high": 14, "normal": 4, "low": 2}


@pytest.mark.parametrize("seconds", [SLOW, None])
async def test_an_email_of_high_priority_passes_slow_ones_to_the_same_domain(seconds: float | None) -> None:
    waiting = WaitingEmails(4)
    if seconds is not None:
        await respond(waiting, "a@slow.example", seconds)
    put(waiting, 9, "ada@slow.example")
    before = await started(waiting)
    put(waiting, 2, "ada@slow.example", priority=Priority.HIGH)
    waiting.done(before[0], None)

    assert [email.priority for email in await started(waiting)] == ["high"]


async def test_forgets_the_speed_of_the_domains_that_it_has_not_used_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.delivery.waiting_emails.MAX_REMEMBERED_DOMAINS", 2)
    waiting = WaitingEmails(1)

    for number in range(3):
        await respond(waiting, f"a@{number}.example", FAST)

    assert list(waiting._seconds) == ["1.example", "2.example"]
