"""Priorities of an email."""

from enum import StrEnum


class Priority(StrEnum):
    """Priority of an email, the most urgent first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
