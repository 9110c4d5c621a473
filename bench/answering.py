"""How long the API takes to answer while the embedded engine delivers at full speed."""

from functools import partial
from pathlib import Path

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.load import Request, wrk
from bench.relays import fast_relay
from bench.rounds import measured
from bench.router import WARM_UP

CONNECTIONS, PAUSE = 4, 10  # ms between two requests of a connection: some 300 requests/s
BACKLOG = 4000  # mails for each second: more than are delivered

IDLE = "GET /api/add, idle: p99 (ms)"
BUSY = "GET /api/add, while mail is delivered: p99 (ms)"
RATE = "the delivery meanwhile (mails/s)"
COMPARISONS = [Comparison("p99 while delivering / idle", BUSY, IDLE, at_most=2.0)]


def measure(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """A server with nothing to do and one with more than it can deliver meanwhile, one after the other."""
    empty, full = Installation(folder / "empty"), Installation(folder / "full")
    empty.prepare()
    empty.copy(full.data)
    full.queue(BACKLOG * (seconds + WARM_UP))
    done = []
    with fast_relay(folder) as port:
        for number in range(rounds):
            busy = full.copy(folder / f"full-{number}")
            figures = {IDLE: partial(_p99, empty, port, seconds), BUSY: partial(_p99, busy, port, seconds)}
            done.append({**measured(figures, number), RATE: busy.delivered()})
            if not busy.left():
                raise SystemExit("The queue was empty before the measurement ended: it says nothing.")
    return done


def _p99(installation: Installation, port: int, seconds: int) -> float:
    with installation.served(EMAIL_URL=f"smtp://127.0.0.1:{port}", DELIVER="true", SHUTDOWN_GRACE="5") as url:
        request = Request(f"{url}/api/add?x=3&y=5")
        wrk(request, seconds=WARM_UP, connections=CONNECTIONS, pause=PAUSE)
        return wrk(request, seconds=seconds, connections=CONNECTIONS, pause=PAUSE).p99
