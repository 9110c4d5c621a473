"""Clients that send emails at a steady rate. As a good client does, each one repeats a request until it gets a 202."""

import itertools
import threading
import time
from collections import Counter

import httpx

from tests.chaos.site import Site
from tests.crash.load_generator import address_of

THREADS = 6
RETRY_SECONDS = 0.2


class SteadyLoad:
    """Sends emails until `stop`. Each email has an idempotency key, so a repeated request stores no second email."""

    def __init__(self, site: Site, *, per_second: float) -> None:
        self.accepted: dict[str, int] = {}  # {id: number}
        self.seconds: list[float] = []  # of each request, also of those that failed
        self.results: Counter[str] = Counter()  # status codes, and errors of the connection
        self._site, self._pause = site, THREADS / per_second
        self._numbers = itertools.count()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._send_all, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more emails, and wait for those that are being sent."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def count(self) -> int:
        """Return how many emails were accepted so far."""
        return len(self.accepted)

    def _send_all(self) -> None:
        with self._site.client() as client:
            while not self._stopping.is_set():
                began = time.monotonic()
                self._send(client, next(self._numbers))
                self._stopping.wait(max(0.0, began + self._pause - time.monotonic()))

    def _send(self, client: httpx.Client, number: int) -> None:
        email = {"from": "shop@example.com", "to": address_of(number), "subject": f"Order {number}", "text": "Thanks."}
        while (response := self._post(client, number, email)) is None or response.status_code >= 500:
            time.sleep(RETRY_SECONDS)
        self.accepted[response.raise_for_status().json()["id"]] = number

    def _post(self, client: httpx.Client, number: int, email: dict[str, str]) -> httpx.Response | None:
        began = time.monotonic()
        try:
            response = client.post("/api/emails", json=email, headers={"Idempotency-Key": f"order-{number}"})
        except httpx.TransportError as error:
            self.results[type(error).__name__] += 1
            return None
        finally:
            self.seconds.append(time.monotonic() - began)
        self.results[str(response.status_code)] += 1
        return response
