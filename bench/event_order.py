"""Two ways to keep events in order on PostgreSQL: `python -m bench.event_order`. Needs wrk and PostgreSQL from Debian.

"exclusive" is the former way: each writer of events waits for the commits of all earlier writers. "shared" is Mailrail's way, of
docs/decisions/0020-event-order.md. Both servers use the same database and are measured in turn, round by round. The last figures
are the longest POST requests while another program keeps the lock of a writer for some seconds.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.installation import Installation
from bench.load import Request, post, wrk
from bench.processes import terminate_cleanly
from bench.sample_email import EMAIL
from tests.postgresql import PostgreSQL, cluster

EXCLUSIVE = "SELECT pg_advisory_xact_lock(%s), set_config('idle_in_transaction_session_timeout', %s, true)"
SERVE_EXCLUSIVE = ("-m", "bench.event_order", "exclusive")
HELD_SECONDS = 5.0


def main() -> int:
    """Measure both ways, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="seconds per run of wrk (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per median (default 5)")
    options = parser.parse_args()
    terminate_cleanly()
    with installation() as (mailrail, postgresql):
        key = mailrail.create_key()
        env = {
            "DELIVERY_WORKER": "external",
            "DATABASE_LOCK_TIMEOUT": "60",
        }  # so that "exclusive" waits for the lock, as formerly
        with mailrail.served(**env) as shared, mailrail.served(*SERVE_EXCLUSIVE, **env) as exclusive:
            urls = {"shared": shared, "exclusive": exclusive}
            requests = {name: Request(f"{url}/api/emails", key, EMAIL) for name, url in urls.items()}
            ratios = []
            for _ in range(options.rounds):
                rates = {name: wrk(request, seconds=options.seconds).rate for name, request in requests.items()}
                ratios.append(rates["shared"] / rates["exclusive"])
                print("POST/s, 32 clients:", ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()), flush=True)
            print(f"shared / exclusive: {median(ratios):.2f} (median of {options.rounds} rounds)")
            for name, request in requests.items():
                seconds = longest_beside_a_writer(postgresql, request)
                print(f"longest POST beside a writer that stands still, {name}: {seconds:.2f} s")
    return 0


@contextmanager
def installation() -> Iterator[tuple[Installation, PostgreSQL]]:
    """Yield a prepared installation on PostgreSQL."""
    with TemporaryDirectory(prefix="mailrail-bench-") as folder, cluster() as postgresql:
        os.environ["DATABASE_URL"] = postgresql.url
        mailrail = Installation(Path(folder))
        mailrail.prepare()
        yield mailrail, postgresql


def longest_beside_a_writer(postgresql: PostgreSQL, request: Request) -> float:
    """Return the seconds of the slowest request that begins while a program holds both kinds of locks."""
    from project.events.commit_order import LOCK_CLASS  # needs Django's settings

    locks = f"pg_advisory_xact_lock({LOCK_CLASS}), pg_advisory_xact_lock_shared({LOCK_CLASS}, -2147483648)"
    with ThreadPoolExecutor(1) as thread:
        with postgresql.transaction(f"DO $$BEGIN PERFORM {locks}; END$$"):
            slowest = thread.submit(_slowest_post, request, time.monotonic() + HELD_SECONDS)
            time.sleep(HELD_SECONDS)
        return slowest.result()


def _slowest_post(request: Request, ends: float) -> float:
    slowest = 0.0
    while (started := time.monotonic()) < ends:
        post(request)
        slowest = max(slowest, time.monotonic() - started)
    return slowest


def serve_exclusive(arguments: list[str]) -> None:
    """Run `manage.py` with writers that wait for each other."""
    from project.bridge.server.reactor import install_reactor

    install_reactor()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from project import cli
    from project.events import commit_order

    commit_order._ANNOUNCE_WRITER = EXCLUSIVE
    cli.main(["manage.py", *arguments])


if __name__ == "__main__":
    if sys.argv[1:2] == ["exclusive"]:
        serve_exclusive(sys.argv[2:])
    else:
        sys.exit(main())
