"""What the outbox can do, beside its peers: `python -m bench.outbox [accept] [delivery] [slow] [latency] [mixed]`.

Needs wrk and postfix (Debian has both; of postfix only smtp-sink and smtp-source are run). The peers, django-post-office
behind Django Ninja, get a virtual environment of their own on the first run. All that is compared is measured in turn, round
by round, on data that is fresh and as durable on both sides. Ends with 1 if a target is missed.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import accepting, answering, delivering
from bench.chart import draw
from bench.comparison import Comparison, Round, print_figures, print_ratios
from bench.processes import end_well
from bench.relays import missing


@dataclass(frozen=True)
class Part:
    """What is measured together. `measure` is given a folder for its data, the rounds, and the seconds of a measurement."""

    title: str
    measure: Callable[[Path, int, int], list[Round]]
    comparisons: Sequence[Comparison]


PARTS = {
    "accept": Part("Taking mail in", accepting.measure, accepting.COMPARISONS),
    "delivery": Part("Delivering 2,000 mails, the database included", delivering.measure, delivering.COMPARISONS),
    "slow": Part("Delivering to a relay that takes 50 ms a mail", delivering.measure_slow, delivering.SLOW_COMPARISONS),
    "latency": Part("Answering GET /api/add while mail is delivered: less is better", answering.measure, answering.COMPARISONS),
    "mixed": Part("Taking mail in and delivering at once", answering.measure_mixed, answering.MIXED_COMPARISONS),
}


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default all)")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement that is not of a fixed number (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="over which medians are taken (default 3)")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also draw the figures, as SVG")
    options = parser.parse_args()
    end_well()
    if strangers := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(strangers))}")
    if absent := [*missing(), *([] if shutil.which("wrk") else ["wrk"])]:
        parser.error(f"{', '.join(absent)} is missing: apt-get install wrk postfix")
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
