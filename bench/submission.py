"""Throughput of submitting emails, one by one and in batches, compared with Django Ninja and django-post-office."""

from functools import partial
from pathlib import Path

from bench.comparison import Comparison, Round
from bench.installation import BATCH, Installation
from bench.load import Request, sequential_rate, wrk
from bench.peers.environment import KEY, Peers
from bench.rounds import measure_round
from bench.router import WARM_UP
from bench.sample_email import EMAIL

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
    """Measure all figures in turn, over 32 connections. Batches come from one client, one after the other."""
    ours, peers = Installation(folder / "mailrail"), Peers(folder / "peers")
    peers.prepare()
    ours.prepare()
    key = ours.create_key()
    with peers.served() as peers_url, ours.served(DELIVERY_WORKER="external") as url:
        requests = {
            PEERS: Request(f"{peers_url}/api/emails", KEY, EMAIL),
            ACCEPT: Request(f"{url}/api/emails", key, EMAIL),
            HELLO: Request(f"{url}/api/"),
            BATCHES: Request(f"{url}/api/emails/batch", key, {"emails": [EMAIL] * BATCH}),
        }
        for name, request in requests.items():
            _rate(name, request, WARM_UP)
        figures = {name: partial(_rate, name, request, seconds) for name, request in requests.items()}
        results = [measure_round(figures, number) for number in range(rounds)]
    if ours.sent():
        raise SystemExit("Mailrail delivered emails during the measurement, which is therefore invalid.")
    return results


def _rate(name: str, request: Request, seconds: int) -> float:
    if name == BATCHES:
        return sequential_rate(request, seconds=seconds) * BATCH
    return wrk(request, seconds=seconds).rate
