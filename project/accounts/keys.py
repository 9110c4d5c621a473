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

from django.core.exceptions import ValidationError
from django.utils.crypto import constant_time_compare

from project.accounts.models import ApiKey, KeyState
from project.accounts.principal import NotAuthenticated, Principal, Why
from project.accounts.scopes import InvalidScope, unknown
from project.accounts.senders import normal_pattern
from project.delays import LONGEST_TIME
from project.errors import Refusal

PREFIX = "mr_"
PUBLIC, SECRET, CHECKSUM = 8, 43, 6  # characters
USE_IS_NOTED_EVERY = timedelta(minutes=1)
_ALPHABET = string.ascii_letters + string.digits


class KeyNotActive(Refusal):
    """There is no such key, or it is revoked or expired."""

    code = "api_key_not_active"


def create_key(name: str, *, scopes: Iterable[str], senders: Iterable[str] = (), expires_at: datetime | None = None) -> str:
    """Make a key. It cannot be shown again. Raises `InvalidScope`, and ValueError for a name or a sender that is none."""
    scopes = sorted(set(scopes))
    if strangers := unknown(scopes):
        raise InvalidScope(f"There is no scope {', '.join(strangers)}.")
    patterns = sorted({normal_pattern(sender) for sender in senders})
    return store_key(ApiKey(name=_checked_name(name), scopes=scopes, senders=patterns, expires_at=expires_at))


def check_end(expires_at: datetime, *, now: datetime) -> None:
    """Raises ValueError, which says why, unless a key that is made now may end then."""
    if expires_at <= now:
        raise ValueError("A key expires later than now.")
    if expires_at - now > LONGEST_TIME:
        raise ValueError(f"A key expires within {LONGEST_TIME.days} days, or never.")


def store_key(key: ApiKey) -> str:
    """Give a new row its public part and its secret, and save it. Gives the key."""
    key.public = _random(PUBLIC)
    text = _with_new_secret(key)
    key.save()
    return text


def rotate_key(public: str, *, overlap: timedelta, now: datetime) -> str:
    """Give a key another secret. The one it had is good until the overlap ends, one before that no more.

    The public part stays, and so do the mails that are the key's. Raises `KeyNotActive`.
    """
    key = ApiKey.objects.select_for_update().filter(public=public.removeprefix(PREFIX)).first()
    if key is None or key.state(now) in {KeyState.EXPIRED, KeyState.REVOKED}:
        raise KeyNotActive("There is no active API key with this public part.")  # which may be a whole key: it is not repeated
    key.previous_hashed, key.previous_until = key.hashed, now + overlap
    text = _with_new_secret(key)
    key.save(update_fields=["hashed", "previous_hashed", "previous_until"])
    return text


def revoke_key(public: str, *, now: datetime) -> bool:
    """End a key for good, with all of its secrets. Gives whether it was not ended before."""
    key = ApiKey.objects.select_for_update().filter(public=public, revoked_at=None).first()
    if key is None:
        return False
    key.revoked_at = now
    key.save(update_fields=["revoked_at"])  # saved, not updated: only then is what is known of it forgotten
    return True


def principal_of_key(text: str, *, now: datetime) -> Principal:
    """Who holds this key. Raises `NotAuthenticated`, whatever is wrong with it."""
    key, is_current = _key_of(text)
    ends = (key.expires_at, None if is_current else key.previous_until)
    good_until = min((end for end in ends if end is not None), default=None)
    if good_until is not None and good_until <= now:
        raise NotAuthenticated("The API key has expired, or was replaced.", why=Why.EXPIRED_KEY, name=known_as(key))
    if key.last_used_at is None or key.last_used_at < now - USE_IS_NOTED_EVERY:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return Principal(
        "key",
        key.name,
        frozenset(key.scopes),
        caller_id=f"key:{key.pk}",
        senders=tuple(key.senders),
        good_until=good_until,
        quota_key=None if key.daily_quota is None else key.pk,
    )


def known_as(key: ApiKey) -> str:
    """The key as people are told of it: its name, and the part that is no secret."""
    return f"{key.name} ({PREFIX}{key.public}…)"


def _checked_name(name: str) -> str:
    """By the column, as the admin's form does."""
    try:
        return str(ApiKey._meta.get_field("name").clean(name.strip(), None))
    except ValidationError as error:
        raise ValueError(f"name: {' '.join(error.messages)}") from None


def _key_of(text: str) -> tuple[ApiKey, bool]:
    """The key that is not revoked, and whether this is its current secret."""
    public, secret = _parts(text)
    key, hashed = ApiKey.objects.filter(public=public).first(), _hashed(secret)
    # Compared even if there is none, so that the time tells nothing.
    current = constant_time_compare(key.hashed if key else "", hashed)
    previous = constant_time_compare(key.previous_hashed if key else "", hashed)
    if key is None or key.revoked_at is not None or not (current or previous):
        was_good = key is not None and (current or previous)
        why, name = Why.REVOKED_KEY if was_good else Why.BAD_KEY, known_as(key) if key else ""
        raise NotAuthenticated("The API key is not valid, or was revoked.", why=why, name=name)
    return key, current


def _with_new_secret(key: ApiKey) -> str:
    secret = _random(SECRET)
    key.hashed = _hashed(secret)
    return f"{PREFIX}{key.public}{secret}{_checksum(key.public + secret)}"


def _parts(text: str) -> tuple[str, str]:
    body = text.removeprefix(PREFIX)
    known, checksum = body[:-CHECKSUM], body[-CHECKSUM:]
    if len(body) != PUBLIC + SECRET + CHECKSUM or not (body.isascii() and body.isalnum()) or checksum != _checksum(known):
        raise NotAuthenticated("This is not an API key: it is incomplete, or has a typing error.", why=Why.BAD_KEY)
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
