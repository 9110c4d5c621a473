"""The cost of a million stored emails compared with a thousand: `python -m bench.growth [--postgresql]`.

Times Mailrail's database queries in turn on a small and on a large database, and prints their query plans. Exits with 1 if a
query takes more than 1.3 times as long.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import django

from bench.processes import run, terminate_cleanly


def main() -> int:
    """Fill both databases, measure, explain and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgresql", action="store_true", help="use PostgreSQL from Debian's package instead of SQLite")
    parser.add_argument("--small", type=int, default=1_000, help="emails in the small database (default 1000)")
    parser.add_argument("--large", type=int, default=1_000_000, help="emails in the large database (default 1000000)")
    parser.add_argument("--rounds", type=int, default=41, help="rounds per median (default 41)")
    parser.add_argument("--only", default="", help="only cases whose names start with this")
    options = parser.parse_args()
    terminate_cleanly()
    with TemporaryDirectory(prefix="mailrail-growth-") as folder, urls(folder, postgresql=options.postgresql) as (small, large):
        os.environ |= {"DATA_DIR": folder, "DATABASE_URL": small, "DJANGO_SETTINGS_MODULE": "project.settings"}
        django.setup()
        from bench.growth_cases import cases  # these modules import models
        from bench.growth_timing import Databases

        databases = Databases.filled({small: options.small, large: options.large})
        try:
            selected = [case for case in cases() if case.name.startswith(options.only)]
            return 0 if databases.compare(selected, rounds=options.rounds) else 1
        finally:
            databases.close()


@contextmanager
def urls(folder: str, *, postgresql: bool) -> Iterator[tuple[str, str]]:
    """Yield the URLs of two migrated databases."""
    if not postgresql:
        yield _migrated(folder, f"sqlite:///{folder}/small.sqlite3"), _migrated(folder, f"sqlite:///{folder}/large.sqlite3")
        return
    from tests.postgresql import cluster  # only if PostgreSQL is used

    with cluster() as server:
        server.query("CREATE DATABASE large")
        yield _migrated(folder, server.url), _migrated(folder, server.url.removesuffix("postgres") + "large")


def _migrated(folder: str, url: str) -> str:
    run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env={"DATA_DIR": folder, "DATABASE_URL": url})
    return url


if __name__ == "__main__":
    sys.exit(main())
