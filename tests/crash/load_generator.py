"""Threads that send mail while things die, and what became of each mail that got its 202."""

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import httpx

from tests.processes import PATIENCE, Server, wait_for
from tests.smtp import Sink

THREADS = 4  # so that mails are accepted together, and share commits
ON_THE_WAY = ("scheduled", "queued", "sending", "delayed")


def address_of(number: int) -> str:
    """Whom the mail with this number is for."""
    return f"ada+{number}@example.com"


def number_of(address: str) -> int:
    """The number of the mail that is for `address`."""
    return int(address.partition("+")[2].partition("@")[0])


class LoadGenerator:
    """Sends until `goal` mails have got their 202, whatever becomes of the server; what was not answered does not count."""

    def __init__(self, key: str, goal: int) -> None:
        self.goal = goal
        self.accepted: dict[str, int] = {}  # {id: number}
        self._headers = {"Authorization": f"Bearer {key}"}
        self._url = ""
        self._numbers = itertools.count()
        self._is_up = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def use(self, server: Server) -> None:
        """From now on, send to this one."""
        self._url = f"{server.url}/api/emails"
        self._is_up.set()

    def kill(self, server: Server) -> None:
        """Send SIGKILL in the midst of it, and no mail until there is another server."""
        server.kill()
        self._is_up.clear()

    def stop(self) -> None:
        """Send no more."""
        self.goal = 0
        self._is_up.set()
        for thread in self._threads:
            thread.join()

    def count(self) -> int:
        """How many have got their 202 so far."""
        return len(self.accepted)

    def finish(self, sink: Sink) -> list[dict[str, Any]]:
        """Wait until all are accepted, and none is on its way. Gives all that the API lists, with those of no seen 202."""
        count_to(self.goal, self.count, "mails are accepted")
        self.stop()
        while self._waiting():
            seen = sink.tries.total()
            wait_for(_either(_is_more(sink.tries.total, seen), self._is_done), "each is settled", lambda: str(self._waiting()))
        emails = self._all()
        assert {email["id"] for email in emails} >= self.accepted.keys()
        return emails

    def _is_done(self) -> bool:
        return not self._waiting()

    def _waiting(self) -> list[str]:
        pages = (self._get(status=status)["data"] for status in ON_THE_WAY)
        return [f"{email['id']} {email['status']} {email['last_error']}" for page in pages for email in page]

    def _all(self) -> list[dict[str, Any]]:
        page = self._get()
        emails: list[dict[str, Any]] = page["data"]
        while page["next"]:
            page = self._get(after=page["next"])
            emails += page["data"]
        return emails

    def _get(self, **query: str) -> dict[str, Any]:
        answer = httpx.get(self._url, params={"limit": "100", **query}, headers=self._headers, timeout=PATIENCE)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def _send(self) -> None:
        with httpx.Client(headers=self._headers, timeout=PATIENCE) as client:
            while len(self.accepted) < self.goal:
                self._is_up.wait()
                number = next(self._numbers)
                body = {"from": "shop@example.com", "to": address_of(number), "subject": f"Order {number}", "text": "Thanks."}
                try:
                    answer = client.post(self._url, json=body)
                except httpx.TransportError:
                    continue  # it was killed: only what it had answered was promised
                self.accepted[answer.raise_for_status().json()["id"]] = number


def count_to(goal: int, count: Callable[[], int], what: str) -> None:
    """Return when `count()` has reached `goal`; fail when it stands still."""
    while (now := count()) < goal:
        wait_for(_is_more(count, now), f"{goal} {what}", lambda: f"There are {count()}.")


def arrived(sink: Sink) -> set[str]:
    """The ids of the mails that came, which their Message-IDs hold."""
    return {message_id.strip("<>").partition("@")[0] for message_id in sink.message_ids}


def has_one_message_id_each(sink: Sink) -> bool:
    """Whether each mail came with the same Message-ID every time."""
    by_number = defaultdict(set)
    for recipients, message_id in zip(sink.recipients, sink.message_ids, strict=True):
        by_number[recipients[0]].add(message_id)
    return all(len(message_ids) == 1 for message_ids in by_number.values())


def _is_more(count: Callable[[], int], than: int) -> Callable[[], bool]:
    return lambda: count() > than


def _either(one: Callable[[], bool], other: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: one() or other()
