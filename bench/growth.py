"""What a million mails cost that a thousand did not: `python -m bench.growth [--postgresql]`.

Times what the outbox asks of the database, in turn on a small one and on a large one, and says by which plan it is answered.
Ends with 1 if something costs more than 1.3 times as much.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import django

from bench.processes import end_well, run


def main() -> int:
    """Fill, measure, explain, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgresql", action="store_true", help="a PostgreSQL of Debian's package, instead of SQLite")
    parser.add_argument("--small", type=int, default=1_000, help="mails in the one database (default 1000)")
    parser.add_argument("--large", type=int, default=1_000_000, help="and in the other (default 1000000)")
    parser.add_argument("--rounds", type=int, default=41, help="over which medians are taken (default 41)")
    parser.add_argument("--only", default="", help="the cases that begin so")
    options = parser.parse_args()
    end_well()
    with TemporaryDirectory(prefix="mailrail-growth-") as folder, urls(folder, postgresql=options.postgresql) as (small, large):
        os.environ |= {"DATA_DIR": folder, "DATABASE_URL": small, "DJANGO_SETTINGS_MODULE": "project.settings"}
        django.setup()
        from bench.growth_cases import cases  # which import models
        from bench.growth_timing import Databases

        databases = Databases.filled({small: options.small, large: options.large})
        try:
            wanted = [case for case in cases() if case.name.startswith(options.only)]
            return 0 if databases.judge(wanted, rounds=options.rounds) else 1
        finally:
            databases.close()


@contextmanager
def urls(folder: str, *, postgresql: bool) -> Iterator[tuple[str, str]]:
    """Two databases, with their tables."""
    if not postgresql:
        yield _migrated(folder, f"sqlite:///{folder}/small.sqlite3"), _migrated(folder, f"sqlite:///{folder}/large.sqlite3")
        return
    from tests.postgresql import cluster  # not everybody has it

    with cluster() as server:
        server.query("CREATE DATABASE large")
        yield _migrated(folder, server.url), _migrated(folder, server.url.removesuffix("postgres") + "large")


def _migrated(folder: str, url: str) -> str:
    run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env={"DATA_DIR": folder, "DATABASE_URL": url})
    return url


if __name__ == "__main__":
    sys.exit(main())
