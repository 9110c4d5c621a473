"""API keys: for programs. Shown once, stored as a hash, found by their public part.

A key is `mr_`, 8 public characters, 43 secret ones (256 bits) and a checksum of 6, all letters and digits: a scanner that
finds one in a repository can tell that it is one.
"""

import secrets
import string
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256

from django.utils.crypto import constant_time_compare

from project.accounts.models import ApiKey
from project.accounts.principal import NotAuthenticated, Principal
from project.accounts.scopes import InvalidScope, unknown

PREFIX = "mr_"
PUBLIC, SECRET, CHECKSUM = 8, 43, 6  # characters
USE_IS_NOTED_EVERY = timedelta(minutes=1)
_ALPHABET = string.ascii_letters + string.digits


def create_key(name: str, *, scopes: Iterable[str]) -> str:
    """Make a key. It cannot be shown again. Raises `InvalidScope`."""
    scopes = sorted(set(scopes))
    if strangers := unknown(scopes):
        raise InvalidScope(f"There is no scope {', '.join(strangers)}.")
    public, secret = _random(PUBLIC), _random(SECRET)
    ApiKey.objects.create(name=name, public=public, hashed=_hashed(secret), scopes=scopes)
    return f"{PREFIX}{public}{secret}{_checksum(public + secret)}"


def principal_of_key(text: str, *, now: datetime) -> Principal:
    """Who holds this key. Raises `NotAuthenticated`, whatever is wrong with it."""
    public, secret = _parts(text)
    key = ApiKey.objects.filter(public=public, revoked_at=None).first()
    # Compared even if there is none, so that the time tells nothing.
    if not constant_time_compare(key.hashed if key else "", _hashed(secret)) or key is None:
        raise NotAuthenticated("The API key is not valid, or was revoked.")
    if key.last_used_at is None or key.last_used_at < now - USE_IS_NOTED_EVERY:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return Principal("key", key.name, frozenset(key.scopes), caller_id=f"key:{key.pk}")


def _parts(text: str) -> tuple[str, str]:
    body = text.removeprefix(PREFIX)
    known, checksum = body[:-CHECKSUM], body[-CHECKSUM:]
    if len(body) != PUBLIC + SECRET + CHECKSUM or not (body.isascii() and body.isalnum()) or checksum != _checksum(known):
        raise NotAuthenticated("This is not an API key: it is incomplete, or has a typing error.")
    return known[:PUBLIC], known[PUBLIC:]


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _hashed(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()  # no salt or stretching: the secret is random, and long


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[digit]
    return digits
