"""Claimed emails that wait for a connection: the most urgent first, and slow recipients do not get all connections.

A domain that responded slowly to its last email, or has not responded to any email yet, gets at most three quarters of the
connections. So do all slow domains together. The other connections stay free for emails to other domains, and for emails of high
priority. Some connections also stay free of emails of a lower priority (see `connection_shares`).
"""

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from project.delivery.priority_turns import FROM_HIGH_TO_LOW, PriorityTurns, connection_shares
from project.emails.models import Email
from project.emails.priority import PRIORITY_BY_VALUE, Priority

SLOW_SECONDS = 2.0  # an email that takes longer occupies a connection for the time of many other emails
MAX_REMEMBERED_DOMAINS = 1000
MAX_BLOCKED_DOMAINS = 20  # domains that a claim avoids
HIGH_EXPECTED_SECONDS = 3600.0  # so long after an email of high priority, a connection is kept free for the next one


def share_of(connections: int) -> int:
    """Return how many of the connections slow recipients, or retries, may occupy: three quarters, but always at least one."""
    return max(1, connections - max(1, connections // 4))


@dataclass(eq=False, slots=True)
class _Waiting:
    email: Email
    domains: frozenset[str]
    priority: Priority
    started_at: float = math.inf


class WaitingEmails:
    """A queue of emails for the senders of some connections. After each email from `get`, `done` must be called."""

    def __init__(self, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Create an empty queue. `clock` returns seconds."""
        self._connections = connections
        self._share = share_of(connections)
        self._unknown_share = connections - connections // 4  # of a domain that has not responded yet; all, if there are few
        self._clock = clock
        self._emails: dict[Priority, deque[_Waiting]] = {priority: deque() for priority in Priority}
        self._turns = PriorityTurns()
        self._high_expected_until = -math.inf
        self._started_priorities: Counter[Priority] = Counter()
        self._getters: deque[asyncio.Future[None]] = deque()
        # Emails that are being sent, in the order of their start. By `id(email)`, because hashing a UUID takes far longer.
        self._started: dict[int, _Waiting] = {}
        self._seconds: OrderedDict[str, float] = OrderedDict()  # for each domain, how long its last email took

    def __len__(self) -> int:
        """Return the number of emails that wait."""
        return sum(map(len, self._emails.values()))

    @property
    def is_high_expected(self) -> bool:
        """Return whether an email of high priority was added in the last hour, so that another one may follow."""
        return self._clock() < self._high_expected_until

    @property
    def blocked(self) -> int:
        """Return how many emails wait only because their domains occupy their share. 0 if the first email may start."""
        for queue in self._emails.values():
            if queue:
                if self._is_within_share(queue[0]):
                    return 0
                break
        return sum(not self._is_within_share(waiting) for waiting in self._all_waiting())

    @property
    def blocked_domains(self) -> frozenset[str]:
        """Return the domains of blocked emails that have no fast response yet."""
        blocked = (waiting.domains for waiting in self._all_waiting() if not self._is_within_share(waiting))
        slow = dict.fromkeys(domain for domains in blocked for domain in sorted(domains) if not self._is_fast(domain))
        return frozenset(list(slow)[:MAX_BLOCKED_DOMAINS])

    def put(self, email: Email) -> None:
        """Add an email."""
        domains = frozenset([address.rpartition("@")[2].lower() for address in email.pending_recipients])
        priority = PRIORITY_BY_VALUE[email.priority]
        if priority == Priority.HIGH:
            self._high_expected_until = self._clock() + HIGH_EXPECTED_SECONDS
        self._emails[priority].append(_Waiting(email, domains, priority))
        self._wake(1)

    def take_all(self) -> list[Email]:
        """Remove and return all emails that wait."""
        emails = [waiting.email for waiting in self._all_waiting()]
        for queue in self._emails.values():
            queue.clear()
        return emails

    def _all_waiting(self) -> Iterator[_Waiting]:
        return chain.from_iterable(self._emails.values())

    def get_nowait(self) -> Email | None:
        """Return an email that may be sent now, or None."""
        found: dict[Priority, int] = {}
        for priority, queue in self._emails.items():
            if queue and (index := self._first_that_may_start(priority)) is not None:
                found[priority] = index
        if not found:
            return None
        priority = self._turns.next(found.keys())
        waiting = self._emails[priority][found[priority]]
        del self._emails[priority][found[priority]]
        waiting.started_at = self._clock()
        self._started[id(waiting.email)] = waiting
        self._started_priorities[priority] += 1
        return waiting.email

    async def get(self) -> Email:
        """Wait for an email that may be sent now, and return it."""
        while (email := self.get_nowait()) is None:
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake(1)  # another sender can take the email that this wake-up was for
                raise
        return email

    def done(self, email: Email, seconds: float | None) -> None:
        """Free the connection of an email. `seconds` is how long sending took, or None if the relay did not get the email."""
        started = self._started.pop(id(email), None)
        if started is not None:
            self._started_priorities[started.priority] -= 1
        if started is not None and seconds is not None:
            self._remember(started.domains, seconds)
        if self._getters and len(self):
            self._wake(len(self._getters))  # more than one blocked email may start now

    def _first_that_may_start(self, priority: Priority) -> int | None:
        if not self._has_connection_for(priority):
            return None
        blocked: set[frozenset[str]] = set()  # most of the blocked emails go to the same domain
        for index, waiting in enumerate(self._emails[priority]):
            if waiting.domains not in blocked:
                if self._is_within_share(waiting):
                    return index
                blocked.add(waiting.domains)
        return None

    def _has_connection_for(self, priority: Priority) -> bool:
        """Return whether a connection is left for this priority, and not kept free for a higher one."""
        shares = connection_shares(self._connections, high_expected=self.is_high_expected)
        started, left = len(self._started), True
        if started < shares[FROM_HIGH_TO_LOW[-1]]:  # the smallest share
            return True
        for each in FROM_HIGH_TO_LOW:  # each share is of the emails of this priority and of all lower ones
            left = left and started < shares[each]
            if each == priority:
                break
            started -= self._started_priorities[each]
        return left

    def _is_within_share(self, waiting: _Waiting) -> bool:
        """Return whether the domains of an email occupy less than their share of the connections.

        High priority may use all connections but one for slow domains, so it does not wait for slow emails of lower priority.
        """
        if self._are_fast(waiting.domains):
            return True
        is_high = waiting.priority == Priority.HIGH
        unproven = [domain for domain in waiting.domains if not self._is_fast(domain)]
        share, unknown_share = (max(1, self._connections - 1),) * 2 if is_high else (self._share, self._unknown_share)
        if any(self._count_to(domain) >= unknown_share for domain in unproven):
            return False
        if not any(map(self._is_slow, unproven)):
            return True
        return sum(any(map(self._is_slow, started.domains)) for started in self._started.values()) < share

    def _are_fast(self, domains: Iterable[str]) -> bool:
        """Return whether all domains are fast, without a look at each email that is being sent."""
        for domain in domains:
            if self._seconds.get(domain, SLOW_SECONDS) >= SLOW_SECONDS:
                return False
        oldest = next(iter(self._started.values()), None)
        return oldest is None or oldest.started_at > self._clock() - SLOW_SECONDS or not any(map(self._is_stuck, domains))

    def _count_to(self, domain: str) -> int:
        return sum(domain in started.domains for started in self._started.values())

    def _is_fast(self, domain: str) -> bool:
        return self._seconds.get(domain, SLOW_SECONDS) < SLOW_SECONDS and not self._is_stuck(domain)

    def _is_slow(self, domain: str) -> bool:
        return self._seconds.get(domain, 0.0) >= SLOW_SECONDS or self._is_stuck(domain)

    def _is_stuck(self, domain: str) -> bool:
        """Return whether an email to the domain is being sent for so long that the domain counts as slow."""
        latest = self._clock() - SLOW_SECONDS
        for started in self._started.values():  # in the order of their start
            if started.started_at > latest:
                return False
            if domain in started.domains:
                return True
        return False

    def _remember(self, domains: Iterable[str], seconds: float) -> None:
        for domain in domains:
            self._seconds[domain] = seconds
            self._seconds.move_to_end(domain)
        while len(self._seconds) > MAX_REMEMBERED_DOMAINS:
            self._seconds.popitem(last=False)

    def _wake(self, count: int) -> None:
        while self._getters and count > 0:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                count -= 1
