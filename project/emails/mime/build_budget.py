"""Limit on the work of building the messages of one batch. Pure.

Steps are counted instead of seconds, so that a slow or busy machine accepts the same batches as a fast one. A step takes up to
2.5 microseconds. Newsletters take 100 to 230 steps for each 1,000 characters, the most expensive HTML about 700.
"""

import re

from project.emails.mime import css_inliner, html_to_text
from project.emails.mime.builder import Draft
from project.errors import DomainError

MAX_STEPS_PER_BATCH = 15_000_000
CHARACTERS_PER_STEP = 40
SELECTOR_TESTS_PER_STEP = 100
MAX_SELECTOR_TESTS = 1_000_000  # CSS that needs more is not inlined

_STYLE = re.compile("<style", re.IGNORECASE)


class BatchTooComplex(DomainError):
    """Building the emails of a batch would take too long."""

    code = "batch_too_complex"


class BuildBudget:
    """The steps that building the emails of one batch may still take."""

    def __init__(self) -> None:
        self._steps_left = MAX_STEPS_PER_BATCH

    def count(self, draft: Draft) -> None:
        """Count the steps to build a message. Raises `BatchTooComplex`."""
        self._steps_left -= steps_of(draft)
        if self._steps_left < 0:
            raise BatchTooComplex(
                "The emails up to this one contain too much HTML and CSS for one batch. "
                "Send a smaller batch, or provide text together with html."
            )


def steps_of(draft: Draft) -> int:
    """Return an upper estimate of the steps to make the text of an HTML part and to inline its CSS."""
    html = draft.html or ""
    text_steps = _parsing_steps(html[: html_to_text.MAX_HTML_LENGTH]) if draft.text is None else 0
    if len(html) > css_inliner.MAX_HTML_LENGTH or not _STYLE.search(html):
        return text_steps
    tests = min((html.count("{") + html.count(",")) * html.count("<"), MAX_SELECTOR_TESTS)
    return text_steps + _parsing_steps(html) + tests // SELECTOR_TESTS_PER_STEP


def _parsing_steps(html: str) -> int:
    return html.count("<") + html.count("&") + len(html) // CHARACTERS_PER_STEP
