"""What one rendering of a template may use: time, and how much text it makes on the way. Pure, but for the clock."""

from collections.abc import Callable
from time import thread_time

from liquid import Token
from liquid.exceptions import ResourceLimitError
from liquid.filter import flatten

MAX_CPU_SECONDS = 0.25  # of processor time, so that a busy machine fails no template
MAX_TOTAL_CHARACTERS = 8 * 1024 * 1024  # characters that all filters and outputs make together
MAX_VALUE_SIZE = 256 * 1024  # characters of what a filter takes or makes
OBJECT_SIZE = 8  # what any other value counts for
MAX_NUMBER_BITS = 256
MAX_DATE_LENGTH = 100  # characters


class RenderBudget:
    """What one rendering may use."""

    def __init__(self) -> None:
        self._deadline = thread_time() + MAX_CPU_SECONDS
        self._stuff = MAX_TOTAL_CHARACTERS

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
            _checked_size(value, token)
        if name in _OUTPUT_SIZE:
            self.take(_OUTPUT_SIZE[name](*given), token)

    def take_value(self, value: object, token: Token | None) -> None:
        """A value was made."""
        self.take(_checked_size(value, token), token)


def size_of(value: object) -> int:
    """How large a value is, in characters, with all that is in it."""
    if isinstance(value, str):
        return OBJECT_SIZE + len(value)
    if isinstance(value, int):
        return OBJECT_SIZE if value.bit_length() <= MAX_NUMBER_BITS else MAX_VALUE_SIZE + 1
    if isinstance(value, range):
        return OBJECT_SIZE * len(value)
    if isinstance(value, dict):
        return OBJECT_SIZE + sum(size_of(key) + size_of(inner) for key, inner in value.items())
    return OBJECT_SIZE + (sum(map(size_of, value)) if isinstance(value, list | tuple) else 0)


def _checked_size(value: object, token: Token | None) -> int:
    size = size_of(value)
    if size > MAX_VALUE_SIZE:
        raise ResourceLimitError("a filter with too large a value", token=token)
    return size


def _join_size(items: object, separator: object = " ", *_: object) -> int:
    return size_of(items) // OBJECT_SIZE * len(str(separator))


def _replace_size(text: object, sought: object = "", by: object = "", *_: object) -> int:
    return str(text).count(str(sought)) * len(str(by))


def _split_size(text: object, *_: object) -> int:
    return OBJECT_SIZE * len(str(text))


def _uniq_size(items: object, *_: object) -> int:
    return len(flatten(items)) * size_of(items) // OBJECT_SIZE if isinstance(items, list | tuple) else size_of(items)


def _strip_html_size(text: object, *_: object) -> int:
    return str(text).count("<") * len(str(text)) // 64  # Python's own parser may take quadratic time: CVE-2025-6069


def _date_size(*given: object) -> int:
    if any(len(str(each)) > MAX_DATE_LENGTH for each in given):  # a format may ask for any width
        raise ResourceLimitError(f"a date, or the format of one, of more than {MAX_DATE_LENGTH} characters", token=None)
    return 0


_OUTPUT_SIZE: dict[str, Callable[..., int]] = {
    "date": _date_size,
    "join": _join_size,
    "replace": _replace_size,
    "split": _split_size,
    "strip_html": _strip_html_size,
    "uniq": _uniq_size,
}
