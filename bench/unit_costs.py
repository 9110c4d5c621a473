"""The cost of one email in CPU time, bytes and connections: `python -m bench.unit_costs`. Needs wrk, postfix and postgresql.

CPU time is read from /proc, so other programs on the machine change it much less than a duration. The figures are those of one
run. docs/scale.md derives from them what a number of emails per second needs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.acceptance import CONNECTIONS, email
from bench.cpu_time import cpu_seconds
from bench.installation import Installation
from bench.load import Request, wrk
from bench.postgresql_installation import PostgreSQLInstallation, on_postgresql
from bench.processes import terminate_cleanly
from bench.relays import fast_relay
from bench.router import WARM_UP
from tests.processes import Server, wait_for

SECONDS = 5


def main() -> None:
    """Measure SQLite and PostgreSQL, and print the costs."""
    terminate_cleanly()
    with TemporaryDirectory(prefix="mailrail-bench-") as name, fast_relay(Path(name)) as relay:
        folder = Path(name)
        sqlite = Installation(folder / "sqlite")
        sqlite.prepare()
        print_costs("SQLite", sqlite, relay, lambda: 0.0, lambda: _size_of_files(sqlite.data))
        with on_postgresql(folder) as postgresql:
            before = _wal_bytes(postgresql)
            print_costs("PostgreSQL", postgresql, relay, lambda: _server_seconds(postgresql), lambda: _size(postgresql))
            _print("PostgreSQL: WAL per sent email (kB)", (_wal_bytes(postgresql) - before) / postgresql.sent() / 1000)


def print_costs(
    database: str, installation: Installation, relay: int, server_seconds: Callable[[], float], size: Callable[[], float]
) -> None:
    """Accept emails for some seconds, deliver them, and print CPU time and bytes for each."""
    empty = size()
    for processes in (1, 2):
        with _measured(server_seconds) as costs:
            accepted, seconds = _accept(installation, processes)
        _print(f"{database}: accept, {processes} processes: CPU of Mailrail (ms)", 1000 * seconds / accepted)
        if database != "SQLite":
            _print(f"{database}: accept, {processes} processes: CPU of {database} (ms)", 1000 * costs[0] / accepted)
    queued = installation.left()
    _print(f"{database}: database per accepted email (kB)", (size() - empty) / queued / 1000)
    with _measured(server_seconds) as costs:
        seconds = _deliver(installation, relay)
    _print(f"{database}: deliver: CPU of the worker (ms)", 1000 * seconds / queued)
    if database != "SQLite":
        _print(f"{database}: deliver: CPU of {database} (ms)", 1000 * costs[0] / queued)
    _print(f"{database}: database per sent email (kB)", (size() - empty) / queued / 1000)


def _accept(installation: Installation, processes: int) -> tuple[int, float]:
    """Return the number of accepted emails, and the CPU seconds of all server processes."""
    key, before = installation.create_key(), installation.left()
    with installation.served_by(processes) as server:
        request = Request(f"{server.url}/api/emails", key, email())
        wrk(request, seconds=WARM_UP, connections=CONNECTIONS)
        warm, started = installation.left(), cpu_seconds(server.process.pid)
        wrk(request, seconds=SECONDS, connections=CONNECTIONS)
        seconds = cpu_seconds(server.process.pid) - started
    assert before < warm
    return installation.left() - warm, seconds


def _deliver(installation: Installation, relay: int) -> float:
    """Return the CPU seconds of a worker that sends all emails, without its start."""
    env = {**installation.env(), "EMAIL_URL": f"smtp://127.0.0.1:{relay}"}
    worker = Server(["manage.py", "deliver"], log=installation.data / "log-deliver", env=env)
    try:
        wait_for(lambda: installation.sent() > 0, "the worker sends", lambda: worker.log)
        sent, started = installation.sent(), cpu_seconds(worker.process.pid)
        wait_for(lambda: installation.left() == 0, "all emails are sent", lambda: worker.log)
        seconds = cpu_seconds(worker.process.pid) - started
        return seconds * (1 + sent / max(1, installation.sent() - sent))
    finally:
        worker.kill()


@contextmanager
def _measured(seconds: Callable[[], float]) -> Iterator[list[float]]:
    costs = [seconds()]
    yield costs
    costs[0] = seconds() - costs[0]


def _server_seconds(installation: PostgreSQLInstallation) -> float:
    return cpu_seconds(int((installation.server.folder / "data" / "postmaster.pid").read_text().split()[0]))


def _size(installation: PostgreSQLInstallation) -> float:
    return float(installation.query("SELECT pg_database_size(current_database())")[0])


def _wal_bytes(installation: PostgreSQLInstallation) -> float:
    return float(installation.query("SELECT wal_bytes FROM pg_stat_wal")[0])


def _size_of_files(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in folder.glob("mailrail.sqlite3*")))


def _print(name: str, value: float) -> None:
    print(f"{name:60}{value:8.2f}", flush=True)


if __name__ == "__main__":
    main()
