"""Submission and delivery compared with peers: `python -m bench.outbox [PART ...]`.

The parts are accept, delivery, slow, latency, priority and mixed. Needs wrk and postfix from Debian (of postfix only smtp-sink
and smtp-source are run). The peers, django-post-office behind Django Ninja, get their own virtual environment on the first run.
All parts are measured in turn, round by round, on fresh data that is equally durable on both sides. Exits with 1 if a target is
missed.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import delivery, latency, priority, submission
from bench.chart import draw
from bench.comparison import Comparison, Round, print_figures, print_ratios
from bench.processes import terminate_cleanly
from bench.relays import missing


@dataclass(frozen=True)
class Part:
    """A group of measurements. `measure` receives a folder for data, the number of rounds, and the seconds per measurement."""

    title: str
    measure: Callable[[Path, int, int], list[Round]]
    comparisons: Sequence[Comparison]


PARTS = {
    "accept": Part("Submitting emails", submission.measure, submission.COMPARISONS),
    "delivery": Part("Delivering 2,000 emails, database included", delivery.measure, delivery.COMPARISONS),
    "slow": Part("Delivering to a relay that needs 50 ms per email", delivery.measure_slow, delivery.SLOW_COMPARISONS),
    "latency": Part("Latency of GET /api/add during delivery: less is better", latency.measure, latency.COMPARISONS),
    "priority": Part("High priority behind a backlog: less is better", priority.measure, priority.COMPARISONS),
    "mixed": Part("Submitting and delivering at once", latency.measure_mixed, latency.MIXED_COMPARISONS),
}


def main() -> int:
    """Measure, print and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default all)")
    parser.add_argument("--seconds", type=int, default=4, help="per measurement without a fixed number of emails (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per median (default 3)")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also draw the figures as SVG")
    options = parser.parse_args()
    terminate_cleanly()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    if missing_programs := [*missing(), *([] if shutil.which("wrk") else ["wrk"])]:
        parser.error(f"{', '.join(missing_programs)} is missing: apt-get install wrk postfix")
    passed, figures = True, {}
    for name in options.parts or PARTS:
        print(f"\n{name}", flush=True)
        with TemporaryDirectory(prefix="mailrail-bench-") as folder:
            rounds = PARTS[name].measure(Path(folder), options.rounds, options.seconds)
        print_figures(rounds)
        passed = print_ratios(rounds, PARTS[name].comparisons) and passed
        figures[PARTS[name].title] = rounds
    if options.chart:
        options.chart.write_text(draw(figures))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
