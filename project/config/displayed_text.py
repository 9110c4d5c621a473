"""Text that people read on one line: which characters could make it look like other text. Pure.

The rules stand here, below the settings, because API keys, users, suppressions and emails must have the same rules.
"""

import re

# Control characters, and characters that change the direction of all following text. The marks
# (U+200E, U+200F) and the joiners (U+200C, U+200D) have no such effect, and many languages and emoji need them.
_MISLEADING = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def reject_misleading_characters(text: str) -> str:
    """Return the text. Raises ValueError for the first character that could make it look like other text."""
    # No printable text contains such a character. Some other texts are harmless too, such as emoji with joiners.
    if not text.isprintable() and (character := _MISLEADING.search(text)):
        raise ValueError(f"The text contains the character U+{ord(character[0]):04X}, which can change how the text looks.")
    return text


def remove_misleading_characters(text: str) -> str:
    """Return the text without the characters that could make it look like other text."""
    return _MISLEADING.sub("", text)
