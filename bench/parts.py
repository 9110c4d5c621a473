"""Groups of measurements, and the command line that runs them."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.chart import draw
from bench.comparison import Comparison, Round, print_figures, print_ratios
from bench.processes import terminate_cleanly


@dataclass(frozen=True)
class Part:
    """A group of measurements. `measure` receives a folder for data, the number of rounds, and the seconds per measurement."""

    title: str
    measure: Callable[[Path, int, int], list[Round]]
    comparisons: Sequence[Comparison]


def run_parts(parts: Mapping[str, Part], *, description: str | None, missing: str) -> int:
    """Measure the parts that the command line names, print and compare. Return 1 if a target is missed.

    `missing` names the programs that are not installed.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(parts)} (default all)")
    parser.add_argument("--seconds", type=int, default=4, help="per measurement without a fixed number of emails (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per median (default 3)")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also draw the figures as SVG")
    options = parser.parse_args()
    terminate_cleanly()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    if missing:
        parser.error(missing)
    passed, figures = True, {}
    for name in options.parts or parts:
        print(f"\n{name}", flush=True)
        with TemporaryDirectory(prefix="mailrail-bench-") as folder:
            rounds = parts[name].measure(Path(folder), options.rounds, options.seconds)
        print_figures(rounds)
        passed = print_ratios(rounds, parts[name].comparisons) and passed
        figures[parts[name].title] = rounds
    if options.chart:
        options.chart.write_text(draw(figures))
    return 0 if passed else 1
