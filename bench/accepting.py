"""How fast mail is taken in: one by one and in batches, beside Django Ninja with django-post-office."""

from functools import partial
from pathlib import Path

from bench.comparison import Comparison, Round
from bench.installation import BATCH, Installation
from bench.load import Request, one_by_one, wrk
from bench.mails import MAIL
from bench.peers.environment import KEY, Peers
from bench.rounds import measured
from bench.router import WARM_UP

PEERS = "Django Ninja, post_office on Daphne: POST (emails/s)"
ACCEPT = "Mailrail: POST /api/emails (emails/s)"
HELLO = "Mailrail: GET /api/ (requests/s)"
BATCHES = f"Mailrail: POST /api/emails/batch of {BATCH} (emails/s)"
COMPARISONS = [
    Comparison("accept: Mailrail / Ninja with post_office", ACCEPT, PEERS, at_least=4.0),
    Comparison("accept: POST /api/emails / GET /api/", ACCEPT, HELLO, at_least=0.25),
    Comparison("accept: batches of Mailrail / Ninja with post_office", BATCHES, PEERS, at_least=10.0),
]


def measure(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """All in turn, 32 connections each, but one client that sends batches one after the other."""
    ours, peers = Installation(folder / "mailrail"), Peers(folder / "peers")
    peers.prepare()
    ours.prepare()
    key = ours.create_key()
    with peers.served() as theirs, ours.served(DELIVERY_WORKER="external") as url:
        requests = {
            PEERS: Request(f"{theirs}/api/emails", KEY, MAIL),
            ACCEPT: Request(f"{url}/api/emails", key, MAIL),
            HELLO: Request(f"{url}/api/"),
            BATCHES: Request(f"{url}/api/emails/batch", key, {"emails": [MAIL] * BATCH}),
        }
        for name, request in requests.items():
            _rate(name, request, WARM_UP)
        figures = {name: partial(_rate, name, request, seconds) for name, request in requests.items()}
        done = [measured(figures, number) for number in range(rounds)]
    if ours.sent():
        raise SystemExit("Mailrail delivered meanwhile: the measurement says nothing.")
    return done


def _rate(name: str, request: Request, seconds: int) -> float:
    if name == BATCHES:
        return one_by_one(request, seconds=seconds) * BATCH
    return wrk(request, seconds=seconds).rate
