"""Removes passwords and tokens from a relay's replies. Some relays repeat a command that they reject, also AUTH."""

import re
from base64 import b64encode

from aiosmtplib.auth import auth_plain_encode, auth_xoauth2_encode

PUNCTUATION = "'\"`<>()[]{},;:.!?…"  # around a repeated command
MIN_PART_LENGTH = 8  # characters; a shorter part of a secret is not recognized, because it may be an ordinary word


def remove_secret(text: str, username: str, secret: str) -> str:
    """Return the text without the words that contain the secret, or a part of it, in a form in which AUTH commands send it."""
    if not secret:
        return text
    encoded = (b64encode(secret.encode()), auth_plain_encode(username, secret), auth_xoauth2_encode(username, secret))
    forms = [secret, *(each.decode() for each in encoded)]
    return re.sub(r"\S+", lambda word: "…" if _shows(word[0], forms) else word[0], text)


def _shows(word: str, forms: list[str]) -> bool:
    part = word.strip(PUNCTUATION)  # the relay may have cut the command off
    return any(form in word or (len(part) >= MIN_PART_LENGTH and part in form) for form in forms)
