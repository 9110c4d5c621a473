"""What one rendering of a template may use: time, and how much text it makes on the way. Pure, but for the clock."""

from collections.abc import Callable
from time import thread_time

from liquid import Token
from liquid.exceptions import ResourceLimitError
from liquid.filter import flatten

SECONDS = 0.25  # of processor time, so that a busy machine fails no template
STUFF = 8 * 1024 * 1024  # characters that all filters and outputs make together
VALUE = 256 * 1024  # characters of what a filter takes or makes
OBJECT = 8  # what any other value counts for
NUMBER_BITS = 256
DATE = 100  # characters


class Ration:
    """What one rendering may use."""

    def __init__(self) -> None:
        self._deadline = thread_time() + SECONDS
        self._stuff = STUFF

    def check_time(self, token: Token | None = None) -> None:
        """Raise ResourceLimitError once the time is over."""
        if thread_time() > self._deadline:
            raise ResourceLimitError("takes too long", token=token)

    def take(self, amount: int, token: Token | None = None) -> None:
        """So many characters more are made. Raises ResourceLimitError if that is too much."""
        self._stuff -= amount
        if self._stuff < 0:
            raise ResourceLimitError("makes too much text", token=token)

    def take_for_filter(self, name: str, given: tuple[object, ...], token: Token | None) -> None:
        """Before a filter is called: what it makes of what it is given, where that may be far more than that."""
        for value in given:
            _size(value, token)
        if name in _MADE:
            self.take(_MADE[name](*given), token)

    def take_value(self, value: object, token: Token | None) -> None:
        """A value was made."""
        self.take(_size(value, token), token)


def weight(value: object) -> int:
    """How large a value is, in characters, with all that is in it."""
    if isinstance(value, str):
        return OBJECT + len(value)
    if isinstance(value, int):
        return OBJECT if value.bit_length() <= NUMBER_BITS else VALUE + 1
    if isinstance(value, range):
        return OBJECT * len(value)
    if isinstance(value, dict):
        return OBJECT + sum(weight(key) + weight(inner) for key, inner in value.items())
    return OBJECT + (sum(map(weight, value)) if isinstance(value, list | tuple) else 0)


def _size(value: object, token: Token | None) -> int:
    size = weight(value)
    if size > VALUE:
        raise ResourceLimitError("a filter with too large a value", token=token)
    return size


def _joined(items: object, separator: object = " ", *_: object) -> int:
    return weight(items) // OBJECT * len(str(separator))


def _replaced(text: object, sought: object = "", by: object = "", *_: object) -> int:
    return str(text).count(str(sought)) * len(str(by))


def _split(text: object, *_: object) -> int:
    return OBJECT * len(str(text))


def _compared(items: object, *_: object) -> int:
    return len(flatten(items)) * weight(items) // OBJECT if isinstance(items, list | tuple) else weight(items)


def _stripped(text: object, *_: object) -> int:
    return str(text).count("<") * len(str(text)) // 64  # Python's own parser may take quadratic time: CVE-2025-6069


def _dated(*given: object) -> int:
    if any(len(str(each)) > DATE for each in given):  # a format may ask for any width
        raise ResourceLimitError(f"a date, or the format of one, of more than {DATE} characters", token=None)
    return 0


_MADE: dict[str, Callable[..., int]] = {
    "date": _dated,
    "join": _joined,
    "replace": _replaced,
    "split": _split,
    "strip_html": _stripped,
    "uniq": _compared,
}
