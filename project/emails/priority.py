"""Priorities of an email."""

from collections.abc import Mapping
from enum import StrEnum


class Priority(StrEnum):
    """Priority of an email, the most urgent first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


PRIORITY_BY_VALUE: Mapping[str, Priority] = {each.value: each for each in Priority}  # faster than `Priority(value)`
