"""Recovery codes for users who have lost their authenticator app. Each code works once in place of the app's code.

The codes are shown once and stored as hashes, in django-otp's static tokens. A code consists only of digits, like a code from the
app, so that one numeric input field accepts both kinds. The two kinds differ in length.
"""

import secrets

from django.conf import settings
from django.db import transaction
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django_otp import verify_token
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from project.accounts.models import User

CODE_COUNT, CODE_DIGITS = 10, 12
recovery_code_used = Signal()  # sent with `request` and `user`
_SALT = "mailrail.recovery-code"
_HASH_LENGTH = 16  # characters: the size of a static token's column


@transaction.atomic
def create_recovery_codes(user: User) -> list[str]:
    """Replace the user's codes and return the new codes in groups of four digits. The codes cannot be read again."""
    delete_recovery_codes(user)
    codes = [str(secrets.randbelow(10**CODE_DIGITS)).zfill(CODE_DIGITS) for _ in range(CODE_COUNT)]
    device = StaticDevice.objects.create(user=user, name="recovery codes", confirmed=True)
    StaticToken.objects.bulk_create([StaticToken(device=device, token=_hash_code(code)) for code in codes])
    return [f"{code[:4]} {code[4:8]} {code[8:]}" for code in codes]


def is_recovery_code(code: str) -> bool:
    """Return whether the code has the length of a recovery code. An authenticator app's code is shorter."""
    return len(code) == CODE_DIGITS


def use_recovery_code(request: HttpRequest, user: User, code: str) -> bool:
    """Return whether the code is valid, and invalidate it. After an invalid code, all of the user's codes fail for a moment."""
    device = StaticDevice.objects.filter(user=user, confirmed=True).first()
    is_valid = device is not None and verify_token(user, device.persistent_id, _stored_hash(device, code)) is not None
    if is_valid:
        recovery_code_used.send(sender=__name__, request=request, user=user)
    return is_valid


def count_recovery_codes(user: User) -> int:
    """Return how many unused codes the user has."""
    count: int = StaticToken.objects.filter(device__user=user).count()
    return count


def delete_recovery_codes(user: User) -> None:
    """Invalidate all codes of the user."""
    StaticDevice.objects.filter(user=user).delete()


def _stored_hash(device: StaticDevice, code: str) -> str:
    """Return the hash of the code by the secret key that was used when the code was created."""
    hashes = [_hash_code(code, key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    # Only one hash is verified, because a failed verification makes django-otp delay the next one.
    stored = StaticToken.objects.filter(device=device, token__in=hashes).values_list("token", flat=True).first()
    return stored or hashes[0]


def _hash_code(code: str, key: str | None = None) -> str:
    # Keyed with SECRET_KEY, because anyone who can read the table could otherwise find the 12 digits by brute force.
    return salted_hmac(_SALT, code, secret=key, algorithm="sha256").hexdigest()[:_HASH_LENGTH]
