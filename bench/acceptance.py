"""Durable acceptance with one and several server processes, on SQLite and PostgreSQL, compared with Postfix.

Each email has 2,048 bytes of text and is on the disk before it is accepted. Emails come over 32 connections. wrk and smtp-source
run on the same cores: each of them uses one thread.
"""

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.load import Request, wrk
from bench.postfix import postfix
from bench.postgresql_installation import on_postgresql
from bench.relays import smtp_source
from bench.rounds import measure_round
from bench.router import WARM_UP
from bench.sample_email import EMAIL

SIZE = 2048  # bytes of text
CONNECTIONS = 32
POSTFIX_EMAILS = 1000  # for each second of a measurement of the other figures
CORES = os.cpu_count() or 1

POSTFIX = "Postfix: smtpd, from smtp-source -s 32 (emails/s)"
POSTFIX_KEEPALIVE = "Postfix: smtpd, reused connections (emails/s)"
ONE, TWO, ALL = "one process", "two processes", f"{CORES} processes (auto)"
DATABASES = ("SQLite", "PostgreSQL")
NUMBERS = {ONE: 1, TWO: 2, **({ALL: CORES} if CORES > 2 else {})}
AUTO = ALL if CORES > 2 else TWO  # with two cores, `--processes auto` starts two processes


def figure(database: str, processes: str) -> str:
    """Return the name of a figure."""
    return f"Mailrail, {database}, {processes} (emails/s)"


COMPARISONS = [
    *(Comparison(f"accept: auto on {each} / Postfix", figure(each, AUTO), POSTFIX, at_least=1.2) for each in DATABASES),
    *(Comparison(f"accept: auto on {each} / Postfix, reused", figure(each, AUTO), POSTFIX_KEEPALIVE) for each in DATABASES),
    *(
        Comparison(f"accept: two processes / one, {each}", figure(each, TWO), figure(each, ONE), at_least=1.6)
        for each in DATABASES
    ),
]


def measure(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """Measure all figures in turn. The servers that are not being measured are idle."""
    with ExitStack() as running:
        sqlite, postgresql = Installation(folder / "sqlite"), running.enter_context(on_postgresql(folder))
        sqlite.prepare()
        requests = {}
        for database, installation in zip(DATABASES, (sqlite, postgresql), strict=True):
            key = installation.create_key()
            for name, number in NUMBERS.items():
                url = running.enter_context(installation.served_by(number)).url
                requests[figure(database, name)] = Request(f"{url}/api/emails", key, email())
        port = running.enter_context(postfix())
        figures = {name: partial(_rate, request, seconds) for name, request in requests.items()}
        source = partial(smtp_source, port, count=POSTFIX_EMAILS * seconds, connections=CONNECTIONS, size=SIZE)
        figures |= {POSTFIX: source, POSTFIX_KEEPALIVE: partial(source, keep_connections=True)}
        for request in requests.values():
            _rate(request, WARM_UP)
        return [measure_round(figures, number) for number in range(rounds)]


def _rate(request: Request, seconds: int) -> float:
    return wrk(request, seconds=seconds, connections=CONNECTIONS).rate


def email() -> dict[str, object]:
    """Return an email with 2,048 bytes of text."""
    line = "A line of text, as long as the lines of most emails are.\n"
    text = (line * (SIZE // len(line) + 1))[:SIZE]
    return {"from": EMAIL["from"], "to": EMAIL["to"], "subject": EMAIL["subject"], "text": text}
