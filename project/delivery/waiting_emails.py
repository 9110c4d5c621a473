"""Claimed emails that wait for a connection. Recipients that respond slowly do not get all connections.

A domain that responded slowly to its last email, or has not responded to any email yet, gets at most three quarters of the
connections. So do all slow domains together. The other connections stay free for emails to other domains.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from project.emails.models import Email

SLOW_SECONDS = 2.0  # an email that takes longer occupies a connection for the time of many other emails
MAX_REMEMBERED_DOMAINS = 1000
MAX_BLOCKED_DOMAINS = 20  # domains that a claim avoids


def share_of(connections: int) -> int:
    """Return how many of the connections slow recipients, or retries, may occupy: three quarters, but always at least one."""
    return max(1, connections - max(1, connections // 4))


@dataclass(frozen=True)
class _Waiting:
    email: Email
    domains: frozenset[str]


@dataclass
class _Started:
    domains: frozenset[str]
    at: float = field(default_factory=time.monotonic)


class WaitingEmails:
    """A queue of emails for the senders of some connections. After each email from `get`, `done` must be called."""

    def __init__(self, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Create an empty queue. `clock` returns seconds."""
        self._share = share_of(connections)
        self._unknown_share = connections - connections // 4  # of a domain that has not responded yet; all, if there are few
        self._clock = clock
        self._emails: deque[_Waiting] = deque()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._started: dict[UUID, _Started] = {}  # emails that are being sent
        self._seconds: OrderedDict[str, float] = OrderedDict()  # for each domain, how long its last email took

    def __len__(self) -> int:
        """Return the number of emails that wait."""
        return len(self._emails)

    @property
    def blocked(self) -> int:
        """Return how many emails wait only because their domains occupy their share. 0 if the first email may start."""
        if not self._emails or self._may_start(self._emails[0].domains):
            return 0
        return sum(not self._may_start(waiting.domains) for waiting in self._emails)

    @property
    def blocked_domains(self) -> frozenset[str]:
        """Return the domains of blocked emails that have no fast response yet."""
        blocked = (waiting.domains for waiting in self._emails if not self._may_start(waiting.domains))
        slow = dict.fromkeys(domain for domains in blocked for domain in sorted(domains) if not self._is_fast(domain))
        return frozenset(list(slow)[:MAX_BLOCKED_DOMAINS])

    def put(self, email: Email) -> None:
        """Add an email."""
        domains = frozenset(address.rpartition("@")[2].lower() for address in email.pending_recipients)
        self._emails.append(_Waiting(email, domains))
        self._wake(1)

    def take_all(self) -> list[Email]:
        """Remove and return all emails that wait."""
        emails = [waiting.email for waiting in self._emails]
        self._emails.clear()
        return emails

    def get_nowait(self) -> Email | None:
        """Return an email that may be sent now, or None."""
        for index, waiting in enumerate(self._emails):
            if self._may_start(waiting.domains):
                del self._emails[index]
                self._started[waiting.email.id] = _Started(waiting.domains, self._clock())
                return waiting.email
        return None

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
        started = self._started.pop(email.id, None)
        if started is not None and seconds is not None:
            self._remember(started.domains, seconds)
        if self._emails:
            self._wake(len(self._getters))  # more than one blocked email may start now

    def _may_start(self, domains: Iterable[str]) -> bool:
        unproven = [domain for domain in domains if not self._is_fast(domain)]
        if not unproven:
            return True
        if any(self._count_to(domain) >= self._unknown_share for domain in unproven):
            return False
        if not any(map(self._is_slow, unproven)):
            return True
        return sum(any(map(self._is_slow, started.domains)) for started in self._started.values()) < self._share

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
            if started.at > latest:
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
