"""Time until an email of high priority is sent, on an idle server and behind 10,000 emails of low priority.

The relay needs 50 ms for each email, so the backlog lasts longer than the measurement.
"""

import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import quantiles

import httpx

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.latency import delivering
from bench.load import TIMEOUT, Request
from bench.relays import slow_relay
from bench.rounds import measure_round
from bench.sample_email import EMAIL
from tests.processes import wait_for

BACKLOG = 10_000  # emails of low priority
INTERVAL_SECONDS = 0.05  # between two emails of high priority

IDLE = "Mailrail, idle: p99 (ms)"
BEHIND = "Mailrail, behind 10,000 emails of low priority: p99 (ms)"
COMPARISONS = [Comparison("p99 of high priority behind a backlog / idle", BEHIND, IDLE, at_most=2.0)]

HIGH = {**EMAIL, "priority": "high"}
SECONDS_TO_SENT = """
    SELECT (julianday(sent_at) - julianday(created_at)) * 86400 FROM emails_email
    WHERE priority = 'high' AND sent_at IS NOT NULL
"""


def measure(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """Measure an idle server, and a server with a backlog, in turn."""
    empty = Installation(folder / "empty")
    empty.prepare()
    key = empty.create_key()
    full = empty.copy(folder / "full")
    full.queue(BACKLOG, {**EMAIL, "priority": "low"})
    results = []
    with slow_relay(folder) as port:
        for number in range(rounds):
            installations = {IDLE: empty.copy(folder / f"idle-{number}"), BEHIND: full.copy(folder / f"behind-{number}")}
            figures = {name: partial(_p99, each, port, seconds, key) for name, each in installations.items()}
            results.append(measure_round(figures, number))
            if not installations[BEHIND].left():
                raise SystemExit("The queue was empty before the measurement ended, which is therefore invalid.")
    return results


def _p99(installation: Installation, port: int, seconds: int, key: str) -> float:
    """Send emails of high priority for some seconds, and return the p99 of the time from submission to sent, in ms."""
    with delivering(installation, port, "subprocess") as url:
        count = _send(Request(f"{url}/api/emails", key, HIGH), seconds)
        wait_for(lambda: len(_seconds_to_sent(installation)) == count, "all emails of high priority are sent")
    return 1000 * quantiles(_seconds_to_sent(installation), n=100)[98]


def _send(request: Request, seconds: int) -> int:
    count, end = 0, time.perf_counter() + seconds
    with httpx.Client(headers=request.headers(), timeout=TIMEOUT) as client:
        while time.perf_counter() < end:
            client.post(request.url, json=request.body).raise_for_status()
            count += 1
            time.sleep(INTERVAL_SECONDS)
    return count


def _seconds_to_sent(installation: Installation) -> list[float]:
    with closing(sqlite3.connect(installation.data / "mailrail.sqlite3")) as connection:
        return [seconds for (seconds,) in connection.execute(SECONDS_TO_SENT)]
