"""Delivery to a relay that answers 10 % of the emails with 4xx and 5 % with 5xx, compared with one that accepts all."""

from functools import partial
from pathlib import Path

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.relays import slow_relay
from bench.rounds import measure_round

EMAILS = 2000
PLAIN, SMART = "Mailrail, relay accepts all (emails/s)", "Mailrail, relay rejects 15 % (emails/s)"
RELAYS = {PLAIN: (), SMART: ("--reject",)}
COMPARISONS = [Comparison("delivery: relay rejects 15 % / accepts all", SMART, PLAIN)]


def measure(folder: Path, rounds: int, _seconds: int) -> list[Round]:
    """Try to send the same emails once, through both relays in turn. Neither relay waits."""
    queue = Installation(folder / "mailrail")
    queue.prepare()
    queue.queue(EMAILS)
    results = []
    for number in range(rounds):
        copies = {name: queue.copy(folder / f"{len(options)}-{number}") for name, options in RELAYS.items()}
        figures = {name: partial(_rate, folder, copy, RELAYS[name]) for name, copy in copies.items()}
        results.append(measure_round(figures, number))
    return results


def _rate(folder: Path, queue: Installation, options: tuple[str, ...]) -> float:
    with slow_relay(folder, "--delay", "0", *options) as port:
        seconds = queue.drain(f"smtp://127.0.0.1:{port}?connections=50")
    if queue.sent() != (EMAILS * 85 // 100 if options else EMAILS):
        raise SystemExit(f"{queue.sent()} of {EMAILS} emails were sent, so the measurement is invalid.")
    return EMAILS / seconds
