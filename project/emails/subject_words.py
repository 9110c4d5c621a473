"""Words of a text to search by: without case and accents, so that every spelling of a word is found. Pure."""

import re
import unicodedata

MAX_WORDS = 12  # different words of one subject; more words are not found
MAX_WORD_LENGTH = 40  # characters; a longer word is cut
_WORD = re.compile(r"\w+")


def split_words(text: str) -> list[str]:
    """Return the different words of a text, in order."""
    plain = text.lower() if text.isascii() else _without_accents(text.casefold())
    words = dict.fromkeys(word[:MAX_WORD_LENGTH] for word in _WORD.findall(plain.replace("_", " ")))
    return list(words)[:MAX_WORDS]


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
