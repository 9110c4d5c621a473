"""Costs and gains of the router and the bridge: `python bench/router.py`. Needs wrk from Debian.

All servers run at the same time and are measured in turn, round by round. A ratio is the median of the ratios of all rounds,
so that other load on the machine affects both sides. Access logs are off (`-v 0`). Exits with 1 if a target is missed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.processes import running  # noqa: E402

LISTEN = ["-v", "0", "-b", "127.0.0.1", "-p", "{port}"]
DAPHNE = ["-m", "daphne", *LISTEN]
BRIDGE = ["-m", "bench.serve", *LISTEN]
SERVERS = {
    "bare on daphne": [*DAPHNE, "--root-path", "/api", "bench.bare_fastapi:application"],
    "router on daphne": [*DAPHNE, "project.asgi:application"],
    "mounted on daphne": [*DAPHNE, "bench.channels_routers:application"],
    "probe on daphne": [*DAPHNE, "bench.probe:application"],
    "bare on bridge": [*BRIDGE, "--root-path", "/api", "bench.bare_fastapi:application"],
    "router on bridge": ["manage.py", "serve", *LISTEN],
    "probe on bridge": [*BRIDGE, "bench.probe:application"],
}
ENV = {"ADMIN_PASSWORD": "bench", "LOG_LEVEL": "WARNING", "DELIVERY_WORKER": "in_process"}
WARM_UP = 1  # seconds


@dataclass(frozen=True)
class Contestant:
    """One path of one server, which is measured."""

    name: str
    server: str
    path: str


@dataclass(frozen=True)
class Sample:
    """The result of one run of wrk."""

    rate: float  # requests/s
    p50: float  # ms
    p99: float  # ms


@dataclass(frozen=True)
class Comparison:
    """The ratio of two contestants' figures, and its target. A ratio without a target is only printed."""

    title: str
    ours: Contestant
    theirs: Contestant
    figure: str = "rate"
    at_least: float | None = None
    at_most: float | None = None

    def limit(self) -> str:
        """Return the target as text."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""

    def is_met(self, ratio: float) -> bool:
        """Return whether the ratio meets the target."""
        return (self.at_least is None or ratio >= self.at_least) and (self.at_most is None or ratio <= self.at_most)


DAPHNE_BARE = Contestant("daphne, FastAPI bare", "bare on daphne", "/api/")
DAPHNE_ROUTER = Contestant("daphne, project.asgi", "router on daphne", "/api/")
DAPHNE_MOUNTED = Contestant("daphne, Channels' routers", "mounted on daphne", "/api/")
BRIDGE_BARE = Contestant("bridge, FastAPI bare", "bare on bridge", "/api/")
BRIDGE_ROUTER = Contestant("manage.py serve", "router on bridge", "/api/")
DAPHNE_DEF = Contestant("daphne, def endpoint", "probe on daphne", "/def")
BRIDGE_DEF = Contestant("bridge, def endpoint", "probe on bridge", "/def")
READ_TRANSACTION = Contestant("daphne, read a row: run_in_transaction", "probe on daphne", "/read/transaction")
READ_DEF = Contestant("daphne, read a row: def endpoint", "probe on daphne", "/read/def")
READ_ASYNC = Contestant("daphne, read a row: async ORM", "probe on daphne", "/read/async")
INSERT_TRANSACTION = Contestant("daphne, INSERT: run_in_transaction", "probe on daphne", "/insert/transaction")
INSERT_DEF = Contestant("daphne, INSERT: def endpoint", "probe on daphne", "/insert/def")
INSERT_ASYNC = Contestant("daphne, INSERT: async ORM", "probe on daphne", "/insert/async")
CONTESTANTS = [
    *(
        DAPHNE_BARE,
        DAPHNE_ROUTER,
        BRIDGE_ROUTER,
        BRIDGE_BARE,
        DAPHNE_MOUNTED,
    ),  # neighbors in this list are measured one after the other
    *(DAPHNE_DEF, BRIDGE_DEF, READ_DEF, READ_TRANSACTION, READ_ASYNC, INSERT_DEF, INSERT_TRANSACTION, INSERT_ASYNC),
]
COMPARISONS = [
    Comparison("daphne: router / bare", DAPHNE_ROUTER, DAPHNE_BARE, at_least=0.97),
    Comparison("daphne: Channels' routers / bare", DAPHNE_MOUNTED, DAPHNE_BARE),
    Comparison("bridge: router / bare", BRIDGE_ROUTER, BRIDGE_BARE, at_least=0.97),
    Comparison("serve / daphne", BRIDGE_ROUTER, DAPHNE_ROUTER, at_least=1.1),
    Comparison("serve / daphne, p99", BRIDGE_ROUTER, DAPHNE_ROUTER, "p99", at_most=0.25),
    Comparison("def endpoint: bridge / daphne", BRIDGE_DEF, DAPHNE_DEF, at_least=2.0),
    Comparison("read a row: transaction / def", READ_TRANSACTION, READ_DEF),
    Comparison("read a row: transaction / async", READ_TRANSACTION, READ_ASYNC),
    Comparison("INSERT: transaction / def", INSERT_TRANSACTION, INSERT_DEF),
    Comparison("INSERT: transaction / async ORM", INSERT_TRANSACTION, INSERT_ASYNC),
]


def main() -> int:
    """Measure, print and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="per measurement (default 4)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per median (default 5)")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is missing: apt-get install wrk")
    with servers() as urls:
        rounds = measure(urls, rounds=options.rounds, seconds=options.seconds)
    print_samples(rounds)
    return 0 if print_ratios(rounds) else 1


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Run all servers, each with its own data. Yield their base URLs."""
    with TemporaryDirectory(prefix="mailrail-bench-") as folder, ExitStack() as stack:
        fresh = Path(folder) / "fresh"
        prepare(fresh)
        urls = {}
        for name, command in SERVERS.items():
            data = shutil.copytree(fresh, Path(folder) / name)
            env = {**ENV, "DATA_DIR": str(data)}
            urls[name] = stack.enter_context(running(command, log=data / "log", env=env)).url
        yield urls


def prepare(data: Path) -> None:
    """Create the data of a fresh installation: tables and administrator."""
    env = {**os.environ, **ENV, "DATA_DIR": str(data)}
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True)


def measure(urls: dict[str, str], *, rounds: int, seconds: int) -> list[dict[Contestant, Sample]]:
    """Measure each contestant once per round. Every other round runs in reverse order."""
    for contestant in CONTESTANTS:
        wrk(urls[contestant.server] + contestant.path, seconds=WARM_UP)
    results = []
    for number in range(rounds):
        order = CONTESTANTS[:: -1 if number % 2 else 1]
        results.append({contestant: wrk(urls[contestant.server] + contestant.path, seconds=seconds) for contestant in order})
        rates = " ".join(f"{results[-1][contestant].rate:.0f}" for contestant in CONTESTANTS)
        print(f"round {number + 1} of {rounds}: {rates}", file=sys.stderr, flush=True)
    return results


def wrk(url: str, *, seconds: int) -> Sample:
    """Run wrk. A status other than 2xx or a broken connection is an error. A slow response is not an error."""
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "--latency", url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or re.search(r"Socket errors: .*(connect|read|write) [1-9]", output):
        raise SystemExit(f"{url} returned errors:\n{output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    return Sample(rate=float(rate[1]), p50=percentile(output, 50), p99=percentile(output, 99))


def percentile(output: str, which: int) -> float:
    """Return one percentile of wrk's latency distribution, in milliseconds."""
    found = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s)\s*$", output, re.MULTILINE)
    assert found is not None, output
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def print_samples(rounds: list[dict[Contestant, Sample]]) -> None:
    """Print the medians of each contestant."""
    print(f"{'':36}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}")
    for contestant in CONTESTANTS:
        rate, p50, p99 = (median(getattr(each[contestant], figure) for each in rounds) for figure in ("rate", "p50", "p99"))
        print(f"{contestant.name:36}{rate:12,.0f}{p50:9.1f}{p99:9.1f}")


def print_ratios(rounds: list[dict[Contestant, Sample]]) -> bool:
    """Print the median, least and greatest ratio of each comparison. Return whether all targets are met."""
    print(f"\n{'':36}{'ratio':>8}{'rounds':>14}  {'target':8}")
    met = True
    for each in COMPARISONS:
        ratios = [getattr(done[each.ours], each.figure) / getattr(done[each.theirs], each.figure) for done in rounds]
        is_met = each.is_met(median(ratios))
        met = met and is_met
        verdict = "" if not each.limit() else "met" if is_met else "MISSED"
        span = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(f"{each.title:36}{median(ratios):8.3f}{span:>14}  {each.limit():8}{verdict}".rstrip())
    return met


if __name__ == "__main__":
    sys.exit(main())
