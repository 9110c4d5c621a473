"""Limits of one rendering of a template: the number of steps, and the total amount of text produced.

Steps are counted instead of seconds, so that a slow or busy machine renders the same templates as a fast one.
"""

from collections.abc import Callable

from liquid import Token
from liquid.exceptions import ResourceLimitError
from liquid.filter import flatten

MAX_STEPS = 100_000  # a node, a lookup and a filter call are one step each, plus steps for the size of their values
MAX_STEPS_PER_REQUEST = 5_000_000  # of all emails of a batch together
STEP_SIZE = 250  # characters of a value that count as one more step
MAX_TOTAL_CHARACTERS = 8 * 1024 * 1024  # characters that all filters and outputs produce together
MAX_VALUE_SIZE = 256 * 1024  # characters of one filter's input or output
OBJECT_SIZE = 8  # characters that every value counts for, in addition to its text
MAX_NUMBER_BITS = 256
MAX_DATE_LENGTH = 100  # characters


class RequestBudget:
    """The steps that all renderings of one request may still use."""

    def __init__(self) -> None:
        self.steps_left = MAX_STEPS_PER_REQUEST


class RenderBudget:
    """The steps and the characters that one rendering may still use."""

    def __init__(self, request: RequestBudget | None = None) -> None:
        self._request = request or RequestBudget()
        self._steps_left = MAX_STEPS
        self._characters_left = MAX_TOTAL_CHARACTERS

    def count_step(self, token: Token | None = None, *, size: int = 0) -> None:
        """Count one step that handles values of `size` characters. Raises `ResourceLimitError` if there are too many steps."""
        steps = 1 + size // STEP_SIZE
        self._steps_left -= steps
        self._request.steps_left -= steps
        if self._steps_left < 0:
            raise ResourceLimitError(f"rendering takes more than {MAX_STEPS} steps", token=token)
        if self._request.steps_left < 0:
            message = f"rendering all emails of this request takes more than {MAX_STEPS_PER_REQUEST} steps"
            raise ResourceLimitError(message, token=token)

    def consume(self, characters: int, token: Token | None = None) -> None:
        """Count characters that are produced. Raises `ResourceLimitError` if the total is too large."""
        self._characters_left -= characters
        if self._characters_left < 0:
            raise ResourceLimitError(
                f"filters and outputs produce more than {MAX_TOTAL_CHARACTERS} characters in total", token=token
            )

    def consume_for_filter(self, name: str, arguments: tuple[object, ...], token: Token | None) -> None:
        """Count the step of a filter call, and its output before the call if the output can be far larger than the input."""
        self.count_step(token, size=sum(_checked_size(argument, token) for argument in arguments))
        if name in _OUTPUT_SIZE:
            self.consume(_OUTPUT_SIZE[name](*arguments), token)

    def consume_value(self, value: object, token: Token | None) -> None:
        """Count a value that a filter has produced."""
        self.consume(_checked_size(value, token), token)


def size_of(value: object) -> int:
    """Return the size of a value in characters, including everything it contains."""
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
        raise ResourceLimitError("the input or output of a filter is too large", token=token)
    return size


def _join_size(items: object, separator: object = " ", *_: object) -> int:
    return size_of(items) // OBJECT_SIZE * len(str(separator))


def _replace_size(text: object, old: object = "", new: object = "", *_: object) -> int:
    return str(text).count(str(old)) * len(str(new))


def _split_size(text: object, *_: object) -> int:
    return OBJECT_SIZE * len(str(text))


def _uniq_size(items: object, *_: object) -> int:
    return len(flatten(items)) * size_of(items) // OBJECT_SIZE if isinstance(items, list | tuple) else size_of(items)


def _strip_html_size(text: object, *_: object) -> int:
    return str(text).count("<") * len(str(text)) // 64  # Python's HTML parser can take quadratic time: CVE-2025-6069


def _date_size(*arguments: object) -> int:
    if any(len(str(argument)) > MAX_DATE_LENGTH for argument in arguments):  # a format can request padding to any width
        raise ResourceLimitError(f"a date or date format is longer than {MAX_DATE_LENGTH} characters", token=None)
    return 0


_OUTPUT_SIZE: dict[str, Callable[..., int]] = {
    "date": _date_size,
    "join": _join_size,
    "replace": _replace_size,
    "split": _split_size,
    "strip_html": _strip_html_size,
    "uniq": _uniq_size,
}
