"""How long `GET /api/add` takes to answer while mail is delivered at full speed, in its process and in one beside it, and how
much mail both together get done. What an engine in its process costs at the least is told by a thread there that only counts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.load import Request, wrk
from bench.mails import MAIL
from bench.relays import fast_relay
from bench.rounds import measured
from bench.router import WARM_UP
from tests.processes import wait_for

CONNECTIONS, PAUSE = 4, 10  # ms between two requests of a connection: some 300 requests/s
BACKLOG = 4000  # mails for each second: more than are delivered

IDLE = "Mailrail, idle: p99 (ms)"
APART = "Mailrail, delivering beside it (DELIVERY_WORKER=subprocess): p99 (ms)"
WITHIN = "Mailrail, delivering in its process (DELIVERY_WORKER=in_process): p99 (ms)"
COUNTING = "Mailrail, a thread of its process counts: p99 (ms)"
DELIVER = {APART: "subprocess", WITHIN: "in_process"}
COMPARISONS = [
    Comparison("p99 while delivering beside it / idle", APART, IDLE, at_most=2.0),
    Comparison("p99 while delivering in its process / idle", WITHIN, IDLE),
    Comparison("p99 while a thread of its process counts / idle", COUNTING, IDLE),
]

ACCEPTED, DELIVERED = "Mailrail, DELIVERY_WORKER={}: accepted (mails/s)", "Mailrail, DELIVERY_WORKER={}: delivered (mails/s)"
MIXED_COMPARISONS = [
    Comparison(
        "accepted while delivering: beside it / in its process", ACCEPTED.format("subprocess"), ACCEPTED.format("in_process")
    ),
    Comparison(
        "delivered while accepting: beside it / in its process", DELIVERED.format("subprocess"), DELIVERED.format("in_process")
    ),
]


def measure(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """A server with nothing to do and one with more than it can deliver meanwhile, one after the other."""
    empty, full = Installation(folder / "empty"), Installation(folder / "full")
    empty.prepare()
    empty.copy(full.data)
    full.queue(BACKLOG * (seconds + WARM_UP))
    done = []
    with fast_relay(folder) as port:
        for number in range(rounds):
            busy = {name: full.copy(folder / f"{deliver}-{number}") for name, deliver in DELIVER.items()}
            figures = {IDLE: partial(_p99, empty, port, seconds, "true")}
            figures |= {name: partial(_p99, busy[name], port, seconds, deliver) for name, deliver in DELIVER.items()}
            figures[COUNTING] = partial(_p99, empty, port, seconds, "true", "-m", "bench.counting")
            rates = {f"the delivery with DELIVERY_WORKER={DELIVER[name]} (mails/s)": busy[name].delivered for name in busy}
            done.append({**measured(figures, number), **{name: rate() for name, rate in rates.items()}})
            if not all(installation.left() for installation in busy.values()):
                raise SystemExit("The queue was empty before the measurement ended: it says nothing.")
    return done


def measure_mixed(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """32 clients send mail to a server with more than it can deliver meanwhile."""
    full = Installation(folder / "full")
    full.prepare()
    key = full.create_key()
    full.queue(BACKLOG * (seconds + WARM_UP))
    done = []
    with fast_relay(folder) as port:
        for number in range(rounds):
            busy = {deliver: full.copy(folder / f"{deliver}-{number}") for deliver in DELIVER.values()}
            figures = {ACCEPTED.format(each): partial(_accepted, busy[each], port, seconds, each, key) for each in busy}
            done.append({**measured(figures, number), **{DELIVERED.format(each): busy[each].delivered() for each in busy}})
    return done


def _accepted(installation: Installation, port: int, seconds: int, deliver: str, key: str) -> float:
    with _delivering(installation, port, deliver) as url:
        return wrk(Request(f"{url}/api/emails", key, MAIL), seconds=seconds).rate


def _p99(installation: Installation, port: int, seconds: int, deliver: str, *program: str) -> float:
    with _delivering(installation, port, deliver, *program) as url:
        request = Request(f"{url}/api/add?x=3&y=5")
        wrk(request, seconds=WARM_UP, connections=CONNECTIONS, pause=PAUSE)
        return wrk(request, seconds=seconds, connections=CONNECTIONS, pause=PAUSE).p99


@contextmanager
def _delivering(installation: Installation, port: int, deliver: str, *program: str) -> Iterator[str]:
    with installation.served(*program, EMAIL_URL=f"smtp://127.0.0.1:{port}", DELIVERY_WORKER=deliver, SHUTDOWN_GRACE="5") as url:
        wait_for(lambda: httpx.get(f"{url}/api/health/ready").is_success, "the engine runs")
        yield url
