"""Several delivery workers that share a queue on PostgreSQL, against a relay that needs 50 ms for each email.

Each worker has ten connections, so the relay limits it to 200 emails/s, and not the CPU.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.comparison import Comparison, Round
from bench.installation import Installation
from bench.postgresql_installation import PostgreSQLInstallation, on_postgresql
from bench.relays import slow_relay
from bench.rounds import measure_round
from tests.processes import Server, wait_for

CONNECTIONS = 10
RATE = 200  # emails/s of one worker, the maximum that the relay allows
START_SECONDS = 15  # until all workers run and the measurement begins, at most
KILL_INTERVAL_SECONDS = 2.0
MOST = 4  # workers

WORKERS = {1: "Mailrail, 1 worker (emails/s)", 2: "Mailrail, 2 workers (emails/s)", MOST: f"Mailrail, {MOST} workers (emails/s)"}
LINEAR = {2: "2 workers, if linear (emails/s)", MOST: f"{MOST} workers, if linear (emails/s)"}
COMPARISONS = [Comparison(f"workers: {n} / {n} times one", WORKERS[n], LINEAR[n], at_least=0.9) for n in LINEAR]

UNDISTURBED = f"Mailrail, {MOST} workers, undisturbed (emails/s)"
KILLED = f"Mailrail, {MOST} workers, one killed every 2 s (emails/s)"
KILLED_COMPARISONS = [Comparison("workers: one killed every 2 s / undisturbed", KILLED, UNDISTURBED, at_least=0.7)]


def measure(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """Measure 1, 2 and 4 workers in turn, each with a new copy of the same queue."""
    results = []
    with slow_relay(folder) as port, on_postgresql(folder) as queue:
        queue.queue(RATE * MOST * (seconds + START_SECONDS))
        for number in range(rounds):
            copies = {n: queue.copy(folder / f"workers-{n}-{number}") for n in WORKERS}
            figures = {WORKERS[n]: partial(_rate, copy, port, n, seconds) for n, copy in copies.items()}
            done = measure_round(figures, number)
            results.append({**done, **{LINEAR[n]: n * done[WORKERS[1]] for n in LINEAR}})
    return results


def measure_killed(folder: Path, rounds: int, seconds: int) -> list[Round]:
    """Measure 4 workers that work undisturbed, and 4 workers of which one is killed and started again every two seconds."""
    results, seconds = [], 3 * seconds  # enough kills
    with slow_relay(folder) as port, on_postgresql(folder) as queue:
        queue.queue(RATE * MOST * (seconds + START_SECONDS))
        for number in range(rounds):
            copies = {name: queue.copy(folder / f"{name}-{number}") for name in ("undisturbed", "killed")}
            figures = {
                UNDISTURBED: partial(_rate, copies["undisturbed"], port, MOST, seconds),
                KILLED: partial(_rate, copies["killed"], port, MOST, seconds, kill=True),
            }
            results.append(measure_round(figures, number))
    return results


def _rate(queue: PostgreSQLInstallation, port: int, number: int, seconds: int, *, kill: bool = False) -> float:
    """Return emails/s of all workers together, from a second after the last one has started."""
    with ExitStack() as workers:
        running = [workers.enter_context(_worker(queue, port, index)) for index in range(number)]
        wait_for(lambda: _heartbeats(queue) == number, "all workers run")
        time.sleep(1)
        started, before = time.perf_counter(), queue.sent()
        if kill:
            _kill_in_turn(running, until=started + seconds)
        else:
            time.sleep(seconds)
        rate = (queue.sent() - before) / (time.perf_counter() - started)
        if not queue.left():
            raise SystemExit("The queue was empty before the measurement ended, which is therefore invalid.")
    return rate


def _kill_in_turn(workers: list["Worker"], *, until: float) -> None:
    for count in range(int(until)):
        if time.perf_counter() + KILL_INTERVAL_SECONDS > until:
            break
        time.sleep(KILL_INTERVAL_SECONDS)
        workers[count % len(workers)].restart()
    time.sleep(max(0.0, until - time.perf_counter()))


class Worker:
    """A `manage.py deliver` process that can be killed and started again."""

    def __init__(self, installation: Installation, port: int, log: Path) -> None:
        self._log = log
        self._env = {**installation.env(), "EMAIL_URL": f"smtp://127.0.0.1:{port}?connections={CONNECTIONS}"}
        self._process = self._start()

    def restart(self) -> None:
        """Send SIGKILL, and start the worker again at once."""
        self._process.kill()
        self._process = self._start()

    def stop(self) -> None:
        """Stop the worker without waiting for emails."""
        self._process.kill()

    def _start(self) -> Server:
        return Server(["manage.py", "deliver"], log=self._log, env=self._env)


@contextmanager
def _worker(installation: Installation, port: int, index: int) -> Iterator[Worker]:
    worker = Worker(installation, port, installation.data / f"log-{index}")
    try:
        yield worker
    finally:
        worker.stop()


def _heartbeats(installation: Installation) -> int:
    return int(installation.query("SELECT COUNT(*) FROM delivery_workerheartbeat")[0])
