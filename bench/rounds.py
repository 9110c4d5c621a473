"""Measures figures in turn, and prints progress."""

import sys
from collections.abc import Callable, Mapping

from bench.comparison import Round

Figure = Callable[[], float]


def measure_round(figures: Mapping[str, Figure], number: int) -> Round:
    """Measure each figure once. Every other round runs in reverse order, so that no figure is always first."""
    results = {}
    for name in list(figures)[:: -1 if number % 2 else 1]:
        results[name] = figures[name]()
        print(f"  round {number + 1}: {name}: {results[name]:,.1f}", file=sys.stderr, flush=True)
    return {name: results[name] for name in figures}
