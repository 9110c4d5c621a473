"""Threads that send emails while processes are killed, and the results of all emails that were accepted with 202."""

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import httpx

from tests.processes import WAIT_TIMEOUT_SECONDS, Server, wait_for
from tests.smtp import Sink

THREADS = 4  # several threads, so that emails are accepted together and share commits
UNFINISHED_STATUSES = ("scheduled", "queued", "sending", "delayed")


def address_of(number: int) -> str:
    """Return the recipient of the email with this number."""
    return f"ada+{number}@example.com"


def number_of(address: str) -> int:
    """Return the number of the email to `address`."""
    return int(address.partition("+")[2].partition("@")[0])


class LoadGenerator:
    """Sends emails until `goal` emails have been accepted with a 202 response, even if the server is killed meanwhile."""

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
        """Send to this server from now on."""
        self._url = f"{server.url}/api/emails"
        self._is_up.set()

    def kill(self, server: Server) -> None:
        """Send SIGKILL to the server while emails are being sent, and pause until `use`."""
        server.kill()
        self._is_up.clear()

    def stop(self) -> None:
        """Stop sending."""
        self.goal = 0
        self._is_up.set()
        for thread in self._threads:
            thread.join()

    def count(self) -> int:
        """Return how many emails were accepted so far."""
        return len(self.accepted)

    def finish(self, sink: Sink) -> list[dict[str, Any]]:
        """Wait until all emails have a final status. Return all emails of the API, including emails whose 202 was lost."""
        count_to(self.goal, self.count, "emails are accepted")
        self.stop()
        with httpx.Client(headers=self._headers, timeout=WAIT_TIMEOUT_SECONDS) as client:
            # An unfinished email is read alone, and a finished email is not read again: each reading of all emails would
            # slow down their delivery.
            for email in self._all(client):
                self._wait_until_finished(client, email, sink)
            emails = self._all(client)
        assert {email["id"] for email in emails} >= self.accepted.keys()
        assert {email["status"] for email in emails}.isdisjoint(UNFINISHED_STATUSES)
        return emails

    def _wait_until_finished(self, client: httpx.Client, email: dict[str, Any], sink: Sink) -> None:
        """Wait until one email has a final status, as long as the sink receives emails."""
        last = [email]

        def is_finished() -> bool:
            if last[0]["status"] in UNFINISHED_STATUSES:
                last[0] = client.get(f"{self._url}/{email['id']}").raise_for_status().json()
            return last[0]["status"] not in UNFINISHED_STATUSES

        while not is_finished():
            received = _is_more(sink.attempts.total, sink.attempts.total())
            wait_for(_either(is_finished, received), "the email is finished", lambda: str(last[0]))

    def _all(self, client: httpx.Client) -> list[dict[str, Any]]:
        emails: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next": None}
        while not emails or page["next"]:
            query = {"limit": "100"} | ({"after": page["next"]} if page["next"] else {})
            page = client.get(self._url, params=query).raise_for_status().json()
            emails += page["data"]
        return emails

    def _send(self) -> None:
        with httpx.Client(headers=self._headers, timeout=WAIT_TIMEOUT_SECONDS) as client:
            while len(self.accepted) < self.goal:
                self._is_up.wait()
                number = next(self._numbers)
                body = {"from": "shop@example.com", "to": address_of(number), "subject": f"Order {number}", "text": "Thanks."}
                try:
                    response = client.post(self._url, json=body)
                except httpx.TransportError:
                    continue  # the server was killed; only a 202 is a promise
                self.accepted[response.raise_for_status().json()["id"]] = number


def count_to(goal: int, count: Callable[[], int], what: str) -> None:
    """Wait until `count()` reaches `goal`. Fail if it stops growing."""
    while (now := count()) < goal:
        wait_for(_is_more(count, now), f"{goal} {what}", lambda: f"There are {count()}.")


def arrived(sink: Sink) -> set[str]:
    """Return the ids of the emails that arrived. An email's id is a part of its Message-ID."""
    return {message_id.strip("<>").partition("@")[0] for message_id in sink.message_ids}


def has_one_message_id_each(sink: Sink) -> bool:
    """Return whether all copies of each email have the same Message-ID."""
    by_number = defaultdict(set)
    for recipients, message_id in zip(sink.recipients, sink.message_ids, strict=True):
        by_number[recipients[0]].add(message_id)
    return all(len(message_ids) == 1 for message_ids in by_number.values())


def _is_more(count: Callable[[], int], than: int) -> Callable[[], bool]:
    return lambda: count() > than


def _either(one: Callable[[], bool], other: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: one() or other()
