"""Figures of several rounds, and their ratios."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

Round = dict[str, float]  # {name with its unit in brackets: value}


@dataclass(frozen=True)
class Comparison:
    """The ratio of two figures, and its target. A ratio without a target is only printed."""

    title: str
    ours: str
    theirs: str
    at_least: float | None = None
    at_most: float | None = None

    def limit(self) -> str:
        """Return the target as text."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    def is_met(self, ratio: float) -> bool:
        """Return whether the ratio meets the target."""
        return (self.at_least is None or ratio >= self.at_least) and (self.at_most is None or ratio <= self.at_most)


def print_figures(rounds: Sequence[Round]) -> None:
    """Print the median of each figure, and its value in every round."""
    print(f"\n{'':56}{'median':>10}  rounds")
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        print(f"{name:56}{_number(median(values)):>10}  {' '.join(_number(value) for value in values)}")


def print_ratios(rounds: Sequence[Round], comparisons: Sequence[Comparison]) -> bool:
    """Print the median of the ratios of all rounds. Return whether all targets are met.

    Both figures of a ratio come from the same round, so that other load on the machine affects both figures.
    """
    print(f"\n{'':56}{'ratio':>10}  {'target':9}{'':7}rounds")
    passed = True
    for each in comparisons:
        ratios = [done[each.ours] / done[each.theirs] for done in rounds]
        met = each.is_met(median(ratios))
        passed = passed and met
        verdict = "" if not each.limit() else "PASS" if met else "miss"
        span = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(f"{each.title:56}{median(ratios):10.2f}  {each.limit():9}{verdict:7}{span}")
    return passed


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
