"""Latency of `GET /api/add` while emails are delivered at full speed, by the server's own process and by a subprocess.

Also measures the throughput when emails are submitted and delivered at the same time. Because of the GIL, a busy thread in the
server's process shows the minimum cost of any delivery worker in that process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.load import Request, wrk
from bench.relays import fast_relay
from bench.rounds import measure_round
from bench.router import WARM_UP
from bench.sample_email import EMAIL
from tests.processes import wait_for

CONNECTIONS, PAUSE = 4, 10  # ms between two requests of a connection, so about 300 requests/s
BACKLOG = 4000  # emails per second of measurement, more than Mailrail delivers

IDLE = "Mailrail, idle: p99 (ms)"
SUBPROCESS = "Mailrail, DELIVERY_WORKER=subprocess: p99 (ms)"
IN_PROCESS = "Mailrail, DELIVERY_WORKER=in_process: p99 (ms)"
BUSY_THREAD = "Mailrail, a busy thread in its process: p99 (ms)"
WORKERS = {SUBPROCESS: "subprocess", IN_PROCESS: "in_process"}
COMPARISONS = [
    Comparison("p99 while delivering beside it / idle", SUBPROCESS, IDLE, at_most=2.0),
    Comparison("p99 while delivering in its process / idle", IN_PROCESS, IDLE),
    Comparison("p99 with a busy thread in its process / idle", BUSY_THREAD, IDLE),
]

SUBMITTED, DELIVERED = "Mailrail, DELIVERY_WORKER={}: submitted (emails/s)", "Mailrail, DELIVERY_WORKER={}: delivered (emails/s)"
MIXED_COMPARISONS = [
    Comparison(
        "submitted while delivering: beside it / in its process", SUBMITTED.format("subprocess"), SUBMITTED.format("in_process")
    ),
    Comparison(
        "delivered while submitting: beside it / in its process", DELIVERED.format("subprocess"), DELIVERED.format("in_process")
    ),
]


def measure(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """Measure an idle server, and servers with more queued emails than they can deliver during the measurement, in turn."""
    empty, full = Installation(folder / "empty"), Installation(folder / "full")
    empty.prepare()
    empty.copy(full.data)
    full.queue(BACKLOG * (seconds + WARM_UP))
    results = []
    with fast_relay(folder) as port:
        for number in range(rounds):
            busy = {name: full.copy(folder / f"{worker}-{number}") for name, worker in WORKERS.items()}
            figures = {IDLE: partial(_p99, empty, port, seconds, "in_process")}
            figures |= {name: partial(_p99, busy[name], port, seconds, worker) for name, worker in WORKERS.items()}
            figures[BUSY_THREAD] = partial(_p99, empty, port, seconds, "in_process", "-m", "bench.busy_thread")
            rates = {f"the delivery with DELIVERY_WORKER={WORKERS[name]} (emails/s)": busy[name].delivered for name in busy}
            results.append({**measure_round(figures, number), **{name: rate() for name, rate in rates.items()}})
            if not all(installation.left() for installation in busy.values()):
                raise SystemExit("The queue was empty before the measurement ended, which is therefore invalid.")
    return results


def measure_mixed(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """Measure 32 clients that submit emails to a server with more queued emails than it can deliver during the measurement."""
    full = Installation(folder / "full")
    full.prepare()
    key = full.create_key()
    full.queue(BACKLOG * (seconds + WARM_UP))
    results = []
    with fast_relay(folder) as port:
        for number in range(rounds):
            busy = {worker: full.copy(folder / f"{worker}-{number}") for worker in WORKERS.values()}
            figures = {SUBMITTED.format(each): partial(_submitted, busy[each], port, seconds, each, key) for each in busy}
            results.append(
                {**measure_round(figures, number), **{DELIVERED.format(each): busy[each].delivered() for each in busy}}
            )
    return results


def _submitted(installation: Installation, port: int, seconds: int, worker: str, key: str) -> float:
    with delivering(installation, port, worker) as url:
        return wrk(Request(f"{url}/api/emails", key, EMAIL), seconds=seconds).rate


def _p99(installation: Installation, port: int, seconds: int, worker: str, *program: str) -> float:
    with delivering(installation, port, worker, *program) as url:
        request = Request(f"{url}/api/add?x=3&y=5")
        wrk(request, seconds=WARM_UP, connections=CONNECTIONS, pause=PAUSE)
        return wrk(request, seconds=seconds, connections=CONNECTIONS, pause=PAUSE).p99


@contextmanager
def delivering(installation: Installation, port: int, worker: str, *program: str) -> Iterator[str]:
    """Run a server that delivers to the relay. Yield its URL as soon as the delivery worker runs."""
    with installation.served(*program, EMAIL_URL=f"smtp://127.0.0.1:{port}", DELIVERY_WORKER=worker, SHUTDOWN_GRACE="5") as url:
        wait_for(lambda: httpx.get(f"{url}/api/health/ready").is_success, "the delivery worker runs")
        yield url
