"""The problems of a 422: how many are collected, and how much of each is shown, so that the response stays small."""

from collections.abc import Iterable
from typing import Any

from pydantic import BeforeValidator, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import InitErrorDetails, PydanticCustomError

MAX_PROBLEMS = 100
MAX_LOCATION_STEPS = 20
MAX_STEP_LENGTH = 100  # characters; a step may be a name that the client made up
ITEMS_AT_ONCE = 10  # of a list of models, so that the problems of at most this many are collected beyond the maximum
MAX_MESSAGE_LENGTH = 500  # characters; a message may repeat the client's value


def shown_problems(errors: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the first problems, without long names and values."""
    first = [error for error, _ in zip(errors, range(MAX_PROBLEMS), strict=False)]
    return [
        {
            "loc": [_shorten(step, MAX_STEP_LENGTH) for step in error["loc"][:MAX_LOCATION_STEPS]],
            "msg": _shorten(error["msg"], MAX_MESSAGE_LENGTH),
            "type": error["type"],
        }
        for error in first
    ]


def max_keys(maximum: int) -> BeforeValidator:
    """Return a validator that counts the keys of an object before the keys and values are validated."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > maximum:
            raise PydanticCustomError("too_long", f"At most {maximum} keys are allowed, not {len(value)}.")
        return value

    return BeforeValidator(check)


def _validate_items(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    if not isinstance(value, list) or len(value) <= ITEMS_AT_ONCE:
        return handler(value)
    items, problems = [], list[InitErrorDetails]()
    for start in range(0, len(value), ITEMS_AT_ONCE):
        try:
            items += handler(value[start : start + ITEMS_AT_ONCE])
        except ValidationError as error:
            problems += _relocate(error, start)
            if len(problems) >= MAX_PROBLEMS:
                break
    if problems:
        raise ValidationError.from_exception_data("items", problems)
    return items


# For a list of models: validates a few items after the other, and stops at `MAX_PROBLEMS`. Pydantic itself would collect the
# problems of all items, and would let no other thread run until it is done.
EACH_ITEM = WrapValidator(_validate_items)


def max_items(maximum: int) -> BeforeValidator:
    """Return a validator that counts the items of a list before the items are validated."""

    def check(value: Any) -> Any:
        if isinstance(value, list) and len(value) > maximum:
            raise PydanticCustomError("too_long", f"At most {maximum} items are allowed, not {len(value)}.")
        return value

    return BeforeValidator(check)


def _relocate(error: ValidationError, start: int) -> list[InitErrorDetails]:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        InitErrorDetails(
            type=PydanticCustomError(each["type"], each["msg"]), loc=(start + int(each["loc"][0]), *each["loc"][1:]), input=None
        )
        for each in problems
    ]


def _shorten(step: Any, length: int) -> Any:
    return step if not isinstance(step, str) or len(step) <= length else f"{step[: length - 1]}…"
