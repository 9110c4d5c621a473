"""How fast mail goes out, its database work included: to a fast relay beside django-post-office, and to a slow one."""

from functools import partial
from pathlib import Path

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.peers.environment import Peers
from bench.relays import fast_relay, slow_relay, smtp_source
from bench.rounds import measured

MAILS = 2000
CONNECTIONS = 50
POSSIBLE = 1000.0  # mails/s: each of the connections, one mail every 50 ms

MAILRAIL = "Mailrail: deliver --drain, 50 connections (mails/s)"
PEERS = "post_office: send_queued_mail (mails/s)"
PEERS_TWICE = "post_office: send_queued_mail --processes 2 (mails/s)"
POSTFIX = "Postfix: smtp-source -s 10, no database (mails/s)"
KEPT = "Postfix: smtp-source -s 10 -d, kept connections (mails/s)"
COMPARISONS = [
    Comparison("delivery: Mailrail / post_office", MAILRAIL, PEERS, at_least=3.0),
    Comparison("delivery: Mailrail / post_office, 2 processes", MAILRAIL, PEERS_TWICE),
    Comparison("delivery: Mailrail / smtp-source", MAILRAIL, POSTFIX, at_least=0.2),
    Comparison("delivery: Mailrail / smtp-source, kept connections", MAILRAIL, KEPT),
]

SLOW = "Mailrail: deliver --drain, 50 connections (mails/s)"
SLOW_POSTFIX = "Postfix: smtp-source -s 50 -d (mails/s)"
IDEAL = "50 connections, 50 ms a mail (mails/s)"
SLOW_COMPARISONS = [
    Comparison("slow relay: Mailrail / what is possible", SLOW, IDEAL, at_least=0.85),
    Comparison("slow relay: smtp-source / what is possible", SLOW_POSTFIX, IDEAL),
]


def measure(folder: Path, rounds: int, _seconds: int) -> list[Round]:
    """Both deliver the same mails to one smtp-sink, from a copy of the same queue each time.

    For both the clock runs while the command does, from the first look into the queue to the last mail that is written down
    as sent: the start of the process, with all imports, is not counted.
    """
    ours, peers = Installation(folder / "mailrail"), Peers(folder / "peers")
    peers.prepare()
    peers.queue(MAILS)
    ours.prepare()
    ours.queue(MAILS)
    done = []
    with fast_relay(folder) as port:
        for number in range(rounds):
            mailrail, once, twice = (folder / f"{name}-{number}" for name in ("mailrail", "once", "twice"))
            figures = {
                MAILRAIL: partial(ours.copy(mailrail).deliver, f"smtp://127.0.0.1:{port}?connections={CONNECTIONS}"),
                PEERS: partial(peers.copy(once).deliver, port),
                PEERS_TWICE: partial(peers.copy(twice).deliver, port, processes=2),
                POSTFIX: partial(smtp_source, port, mails=MAILS, connections=10),
                KEPT: partial(smtp_source, port, mails=MAILS, connections=10, kept=True),
            }
            done.append(measured(figures, number))
    return done


def measure_slow(folder: Path, rounds: int, _seconds: int) -> list[Round]:
    """As many mails to a relay that takes 50 ms for each, over 50 connections."""
    ours = Installation(folder / "mailrail")
    ours.prepare()
    ours.queue(MAILS)
    done = []
    with slow_relay(folder) as port:
        url = f"smtp://127.0.0.1:{port}?connections={CONNECTIONS}"
        for number in range(rounds):
            figures = {
                SLOW: partial(ours.copy(folder / f"mailrail-{number}").deliver, url),
                SLOW_POSTFIX: partial(smtp_source, port, mails=MAILS, connections=CONNECTIONS, kept=True),
            }
            done.append({**measured(figures, number), IDEAL: POSSIBLE})
    return done
