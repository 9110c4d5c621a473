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

from project.api_keys.models import ApiKey, KeyState
from project.auth.principal import AuthFailureReason, NotAuthenticated, Principal
from project.auth.scopes import InvalidScope, unknown_scopes
from project.auth.sender_patterns import normalize_pattern
from project.config.durations import MAX_DURATION
from project.errors import DomainError

KEY_PREFIX = "mr_"
PREFIX_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 43, 6  # characters
LAST_USED_RESOLUTION = timedelta(minutes=1)
_ALPHABET = string.ascii_letters + string.digits


class KeyNotActive(DomainError):
    """There is no such key, or it is revoked or expired."""

    code = "api_key_not_active"


def create_key(
    name: str, *, scopes: Iterable[str], allowed_senders: Iterable[str] = (), expires_at: datetime | None = None
) -> str:
    """Make a key. It cannot be shown again. Raises `InvalidScope`, and ValueError for a name or a sender that is none."""
    scopes = sorted(set(scopes))
    if strangers := unknown_scopes(scopes):
        raise InvalidScope(f"There is no scope {', '.join(strangers)}.")
    patterns = sorted({normalize_pattern(sender) for sender in allowed_senders})
    return save_new_key(ApiKey(name=_checked_name(name), scopes=scopes, allowed_senders=patterns, expires_at=expires_at))


def validate_expiry(expires_at: datetime, *, now: datetime) -> None:
    """Raises ValueError, which says why, unless a key that is made now may end then."""
    if expires_at <= now:
        raise ValueError("A key expires later than now.")
    if expires_at - now > MAX_DURATION:
        raise ValueError(f"A key expires within {MAX_DURATION.days} days, or never.")


def save_new_key(key: ApiKey) -> str:
    """Give a new row its public part and its secret, and save it. Gives the key."""
    key.prefix = _random_text(PREFIX_LENGTH)
    text = _with_new_secret(key)
    key.save()
    return text


def rotate_key(prefix: str, *, overlap: timedelta, now: datetime) -> str:
    """Give a key another secret. The one it had is good until the overlap ends, one before that no more.

    The public part stays, and so do the mails that are the key's. Raises `KeyNotActive`.
    """
    key = ApiKey.objects.select_for_update().filter(prefix=prefix.removeprefix(KEY_PREFIX)).first()
    if key is None or key.state(now) in {KeyState.EXPIRED, KeyState.REVOKED}:
        raise KeyNotActive("There is no active API key with this public part.")  # which may be a whole key: it is not repeated
    key.previous_secret_hash, key.previous_secret_expires_at = key.secret_hash, now + overlap
    text = _with_new_secret(key)
    key.save(update_fields=["secret_hash", "previous_secret_hash", "previous_secret_expires_at"])
    return text


def revoke_key(prefix: str, *, now: datetime) -> bool:
    """End a key for good, with all of its secrets. Gives whether it was not ended before."""
    key = ApiKey.objects.select_for_update().filter(prefix=prefix, revoked_at=None).first()
    if key is None:
        return False
    key.revoked_at = now
    key.save(update_fields=["revoked_at"])  # saved, not updated: only then is what is known of it forgotten
    return True


def authenticate_api_key(text: str, *, now: datetime) -> Principal:
    """Who holds this key. Raises `NotAuthenticated`, whatever is wrong with it."""
    key, is_current = _find_key(text)
    ends = (key.expires_at, None if is_current else key.previous_secret_expires_at)
    expires_at = min((end for end in ends if end is not None), default=None)
    if expires_at is not None and expires_at <= now:
        raise NotAuthenticated(
            "The API key has expired, or was replaced.", reason=AuthFailureReason.EXPIRED_KEY, name=key_label(key)
        )
    if key.last_used_at is None or key.last_used_at < now - LAST_USED_RESOLUTION:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return Principal(
        "key",
        key.name,
        frozenset(key.scopes),
        owner_id=f"key:{key.pk}",
        allowed_senders=tuple(key.allowed_senders),
        expires_at=expires_at,
        quota_key=None if key.daily_quota is None else key.pk,
    )


def key_label(key: ApiKey) -> str:
    """The key as people are told of it: its name, and the part that is no secret."""
    return f"{key.name} ({KEY_PREFIX}{key.prefix}…)"


def _checked_name(name: str) -> str:
    """By the column, as the admin's form does."""
    try:
        return str(ApiKey._meta.get_field("name").clean(name.strip(), None))
    except ValidationError as error:
        raise ValueError(f"name: {' '.join(error.messages)}") from None


def _find_key(text: str) -> tuple[ApiKey, bool]:
    """The key that is not revoked, and whether this is its current secret."""
    prefix, secret = _split_key(text)
    key, secret_hash = ApiKey.objects.filter(prefix=prefix).first(), _hash_secret(secret)
    # Compared even if there is none, so that the time tells nothing.
    current = constant_time_compare(key.secret_hash if key else "", secret_hash)
    previous = constant_time_compare(key.previous_secret_hash if key else "", secret_hash)
    if key is None or key.revoked_at is not None or not (current or previous):
        was_good = key is not None and (current or previous)
        reason, name = AuthFailureReason.REVOKED_KEY if was_good else AuthFailureReason.BAD_KEY, key_label(key) if key else ""
        raise NotAuthenticated("The API key is not valid, or was revoked.", reason=reason, name=name)
    return key, current


def _with_new_secret(key: ApiKey) -> str:
    secret = _random_text(SECRET_LENGTH)
    key.secret_hash = _hash_secret(secret)
    return f"{KEY_PREFIX}{key.prefix}{secret}{_checksum(key.prefix + secret)}"


def _split_key(text: str) -> tuple[str, str]:
    body = text.removeprefix(KEY_PREFIX)
    known, checksum = body[:-CHECKSUM_LENGTH], body[-CHECKSUM_LENGTH:]
    if (
        len(body) != PREFIX_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH
        or not (body.isascii() and body.isalnum())
        or checksum != _checksum(known)
    ):
        raise NotAuthenticated(
            "This is not an API key: it is incomplete, or has a typing error.", reason=AuthFailureReason.BAD_KEY
        )
    return known[:PREFIX_LENGTH], known[PREFIX_LENGTH:]


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _hash_secret(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()  # no salt or stretching: the secret is random, and long


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[digit]
    return digits
