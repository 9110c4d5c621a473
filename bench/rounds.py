"""Measuring in turn, and saying how it goes."""

import sys
from collections.abc import Callable, Mapping

from bench.comparison import Round

Figure = Callable[[], float]


def measured(figures: Mapping[str, Figure], number: int) -> Round:
    """Each once, every other round the other way round, so that no one is always the first."""
    done = {}
    for name in list(figures)[:: -1 if number % 2 else 1]:
        done[name] = figures[name]()
        print(f"  round {number + 1}: {name}: {done[name]:,.1f}", file=sys.stderr, flush=True)
    return {name: done[name] for name in figures}
