"""API keys: credentials of programs. A key is shown once, stored as a hash, and looked up by its prefix.

A key consists of `mr_`, an 8-character prefix, a 43-character secret (256 bits) and a 6-character checksum. These parts contain
only letters and digits. Secret scanners recognize a key that leaked into a repository by its fixed format and its checksum.
"""

import secrets
import string
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from project.accounts.models import User
from project.api_keys.models import ApiKey, KeyState
from project.auth.principal import AuthFailureReason, NotAuthenticated, Principal
from project.auth.scopes import require_known_scopes
from project.auth.sender_patterns import normalize_pattern
from project.config.displayed_text import reject_misleading_characters
from project.config.durations import MAX_DURATION
from project.errors import DomainError

KEY_PREFIX = "mr_"
PREFIX_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 43, 6  # characters
LAST_USED_RESOLUTION = timedelta(minutes=1)
_ALPHABET = string.ascii_letters + string.digits


class KeyNotActive(DomainError):
    """The API key does not exist, is revoked or expired, or belongs to a deactivated user."""

    code = "api_key_not_active"


def create_key(
    name: str,
    *,
    scopes: Iterable[str],
    allowed_senders: Iterable[str] = (),
    expires_at: datetime | None = None,
    owner: User | None = None,
) -> str:
    """Create a key and return it. It cannot be shown again.

    Raises `InvalidScope`, and ValueError for an invalid name or sender pattern.
    """
    scopes = sorted(set(scopes))
    require_known_scopes(scopes)
    patterns = sorted({normalize_pattern(sender) for sender in allowed_senders})
    key = ApiKey(name=_validate_name(name), scopes=scopes, allowed_senders=patterns, expires_at=expires_at, owner=owner)
    return save_new_key(key)


def validate_expiry(expires_at: datetime, *, now: datetime) -> None:
    """Raise ValueError, with a message for the user, if `expires_at` is in the past or too far in the future for a new key."""
    if expires_at <= now:
        raise ValueError("The expiration must be in the future.")
    if expires_at - now > MAX_DURATION:
        raise ValueError(f"The expiration must be within {MAX_DURATION.days} days.")


def save_new_key(key: ApiKey) -> str:
    """Generate the prefix and the secret of a new row, save the row, and return the key."""
    key.prefix = _random_text(PREFIX_LENGTH)
    text = _set_new_secret(key)
    key.save()
    return text


def rotate_key(prefix: str, *, overlap: timedelta, now: datetime) -> str:
    """Replace a key's secret and return the new key. The old secret stays valid for `overlap`.

    The secret before the old secret becomes invalid immediately. The prefix stays the same, and the key still owns its emails.
    Raises `KeyNotActive`.
    """
    key = ApiKey.objects.select_for_update().filter(prefix=prefix.removeprefix(KEY_PREFIX)).first()
    if key is None or key.state(now) in {KeyState.EXPIRED, KeyState.REVOKED, KeyState.OWNER_INACTIVE}:
        raise KeyNotActive("No active API key has this prefix.")  # without the input, which may be a whole key
    key.previous_secret_hash, key.previous_secret_expires_at = key.secret_hash, now + overlap
    text = _set_new_secret(key)
    key.save(update_fields=["secret_hash", "previous_secret_hash", "previous_secret_expires_at"])
    return text


def revoke_key(prefix: str, *, now: datetime) -> bool:
    """Revoke a key with all of its secrets. Return False if the key does not exist or was already revoked."""
    key = ApiKey.objects.select_for_update().filter(prefix=prefix, revoked_at=None).first()
    if key is None:
        return False
    key.revoked_at = now
    key.save(update_fields=["revoked_at"])  # save(), because update() sends no signal to clear the key cache
    return True


def authenticate_api_key(text: str, *, now: datetime) -> Principal:
    """Return the key's principal. Raises `NotAuthenticated`."""
    key, is_current = _find_key(text)
    expiries = (key.expires_at, None if is_current else key.previous_secret_expires_at)
    expires_at = min((expiry for expiry in expiries if expiry is not None), default=None)
    if expires_at is not None and expires_at <= now:
        raise NotAuthenticated(
            "The API key has expired or was rotated.", reason=AuthFailureReason.EXPIRED_KEY, name=key_label(key)
        )
    return Principal(
        "key",
        key.name,
        frozenset(key.scopes),
        owner_id=f"key:{key.pk}",
        allowed_senders=tuple(key.allowed_senders),
        expires_at=expires_at,
        quota_key=None if key.daily_quota is None else key.pk,
        label=key_label(key),
    )


def record_use(text: str, *, now: datetime) -> None:
    """Record that a valid key was used. Does nothing if that was recorded within the last minute.

    A row that another transaction has locked is skipped: that transaction uses the key too, and records it within a minute.
    """
    stale = ApiKey.objects.exclude(last_used_at__gte=now - LAST_USED_RESOLUTION).filter(prefix=_split_key(text)[0])
    if connection.features.has_select_for_update_skip_locked:
        stale = ApiKey.objects.filter(pk__in=list(stale.select_for_update(skip_locked=True).values_list("pk", flat=True)))
    stale.update(last_used_at=now)


def key_label(key: ApiKey) -> str:
    """Return the key's name and public prefix, for display."""
    return f"{key.name} ({KEY_PREFIX}{key.prefix}…)"


def _validate_name(name: str) -> str:
    """Return the name without surrounding spaces. Raises ValueError if the admin's form would reject it."""
    try:
        return reject_misleading_characters(str(ApiKey._meta.get_field("name").clean(name.strip(), None)))
    except ValidationError as error:
        raise ValueError(f"name: {' '.join(error.messages)}") from None
    except ValueError as error:
        raise ValueError(f"name: {error}") from None


def _find_key(text: str) -> tuple[ApiKey, bool]:
    """Return the non-revoked key, and whether `text` contains its current secret. Raises `NotAuthenticated`."""
    prefix, secret = _split_key(text)
    key, secret_hash = ApiKey.objects.select_related("owner").filter(prefix=prefix).first(), _hash_secret(secret)
    # The hashes are compared even for an unknown key, so that the response time does not reveal whether the prefix exists.
    is_current = constant_time_compare(key.secret_hash if key else "", secret_hash)
    is_previous = constant_time_compare(key.previous_secret_hash if key else "", secret_hash)
    if key is None or key.revoked_at is not None or not (is_current or is_previous):
        was_valid = key is not None and (is_current or is_previous)
        reason, name = AuthFailureReason.REVOKED_KEY if was_valid else AuthFailureReason.BAD_KEY, key_label(key) if key else ""
        raise NotAuthenticated("The API key is invalid or was revoked.", reason=reason, name=name)
    if key.owner is not None and not key.owner.is_active:
        reason = AuthFailureReason.INACTIVE_OWNER
        raise NotAuthenticated("The owner of the API key was deactivated.", reason=reason, name=key_label(key))
    return key, is_current


@receiver(pre_delete, sender=User)
def _revoke_keys_of_deleted_user(instance: User, **_kwargs: Any) -> None:
    for prefix in list(ApiKey.objects.filter(owner=instance).values_list("prefix", flat=True)):
        revoke_key(prefix, now=timezone.now())


def _set_new_secret(key: ApiKey) -> str:
    secret = _random_text(SECRET_LENGTH)
    key.secret_hash = _hash_secret(secret)
    return f"{KEY_PREFIX}{key.prefix}{secret}{_checksum(key.prefix + secret)}"


def _split_key(text: str) -> tuple[str, str]:
    """Return the prefix and the secret. Raises `NotAuthenticated` if the format or the checksum is wrong."""
    body = text.removeprefix(KEY_PREFIX)
    prefix_and_secret, checksum = body[:-CHECKSUM_LENGTH], body[-CHECKSUM_LENGTH:]
    if (
        len(body) != PREFIX_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH
        or not (body.isascii() and body.isalnum())
        or checksum != _checksum(prefix_and_secret)
    ):
        raise NotAuthenticated("Malformed API key: it is incomplete or contains a typo.", reason=AuthFailureReason.BAD_KEY)
    return prefix_and_secret[:PREFIX_LENGTH], prefix_and_secret[PREFIX_LENGTH:]


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _hash_secret(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()  # no salt or stretching, because the secret is random and long


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[digit]
    return digits
