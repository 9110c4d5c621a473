"""Throughput of delivery, including the database work, to a fast relay (compared with django-post-office) and a slow relay."""

from functools import partial
from pathlib import Path

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.peers.environment import Peers
from bench.relays import fast_relay, slow_relay, smtp_source
from bench.rounds import measure_round

EMAILS = 2000
CONNECTIONS = 50
IDEAL_RATE = 1000.0  # emails/s: one email every 50 ms on each connection

MAILRAIL = "Mailrail: deliver --drain, 50 connections (emails/s)"
PEERS = "post_office: send_queued_mail (emails/s)"
PEERS_TWICE = "post_office: send_queued_mail --processes 2 (emails/s)"
POSTFIX = "Postfix: smtp-source -s 10, no database (emails/s)"
POSTFIX_KEEPALIVE = "Postfix: smtp-source -s 10 -d, reused connections (emails/s)"
COMPARISONS = [
    Comparison("delivery: Mailrail / post_office", MAILRAIL, PEERS, at_least=3.0),
    Comparison("delivery: Mailrail / post_office, 2 processes", MAILRAIL, PEERS_TWICE),
    Comparison("delivery: Mailrail / smtp-source", MAILRAIL, POSTFIX, at_least=0.2),
    Comparison("delivery: Mailrail / smtp-source, reused connections", MAILRAIL, POSTFIX_KEEPALIVE),
]

SLOW = "Mailrail: deliver --drain, 50 connections (emails/s)"
SLOW_POSTFIX = "Postfix: smtp-source -s 50 -d (emails/s)"
IDEAL = "50 connections, 50 ms per email (emails/s)"
SLOW_COMPARISONS = [
    Comparison("slow relay: Mailrail / ideal", SLOW, IDEAL, at_least=0.85),
    Comparison("slow relay: smtp-source / ideal", SLOW_POSTFIX, IDEAL),
]


def measure(folder: Path, rounds: int, _seconds: int) -> list[Round]:
    """Deliver the same emails to one smtp-sink in each measurement. Each measurement uses a new copy of the same queue.

    The measured time starts with the command's first read of the queue, and ends when the last email is recorded as sent. The
    start of the process and its imports are not included.
    """
    ours, peers = Installation(folder / "mailrail"), Peers(folder / "peers")
    peers.prepare()
    peers.queue(EMAILS)
    ours.prepare()
    ours.queue(EMAILS)
    results = []
    with fast_relay(folder) as port:
        for number in range(rounds):
            mailrail, once, twice = (folder / f"{name}-{number}" for name in ("mailrail", "once", "twice"))
            figures = {
                MAILRAIL: partial(ours.copy(mailrail).deliver, f"smtp://127.0.0.1:{port}?connections={CONNECTIONS}"),
                PEERS: partial(peers.copy(once).deliver, port),
                PEERS_TWICE: partial(peers.copy(twice).deliver, port, processes=2),
                POSTFIX: partial(smtp_source, port, count=EMAILS, connections=10),
                POSTFIX_KEEPALIVE: partial(smtp_source, port, count=EMAILS, connections=10, keep_connections=True),
            }
            results.append(measure_round(figures, number))
    return results


def measure_slow(folder: Path, rounds: int, _seconds: int) -> list[Round]:
    """Deliver `EMAILS` emails over 50 connections to a relay that needs 50 ms for each email."""
    ours = Installation(folder / "mailrail")
    ours.prepare()
    ours.queue(EMAILS)
    results = []
    with slow_relay(folder) as port:
        url = f"smtp://127.0.0.1:{port}?connections={CONNECTIONS}"
        for number in range(rounds):
            figures = {
                SLOW: partial(ours.copy(folder / f"mailrail-{number}").deliver, url),
                SLOW_POSTFIX: partial(smtp_source, port, count=EMAILS, connections=CONNECTIONS, keep_connections=True),
            }
            results.append({**measure_round(figures, number), IDEAL: IDEAL_RATE})
    return results
