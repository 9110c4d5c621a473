"""Recovery codes: for who has lost the app, each good once in its place. Shown once, kept as hashes (django-otp's static tokens).

All digits, as the app's codes are, so that one field with a phone's number keys takes either; told apart by their length.
"""

import secrets

from django.db import transaction
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django_otp import verify_token
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from project.accounts.models import User

CODE_COUNT, CODE_DIGITS = 10, 12
recovery_code_used = Signal()  # with `request` and `user`
_SALT = "mailrail.recovery-code"
_HASH_LENGTH = 16  # characters: all that a static token has


@transaction.atomic
def create_recovery_codes(user: User) -> list[str]:
    """Ten new codes, to be shown now and never again. Those before are good no more."""
    delete_recovery_codes(user)
    codes = [str(secrets.randbelow(10**CODE_DIGITS)).zfill(CODE_DIGITS) for _ in range(CODE_COUNT)]
    device = StaticDevice.objects.create(user=user, name="recovery codes", confirmed=True)
    StaticToken.objects.bulk_create([StaticToken(device=device, token=_hash_code(code)) for code in codes])
    return [f"{code[:4]} {code[4:8]} {code[8:]}" for code in codes]


def is_recovery_code(code: str) -> bool:
    """Whether it looks like one, and not like an app's."""
    return len(code) == CODE_DIGITS


def use_recovery_code(request: HttpRequest, user: User, code: str) -> bool:
    """Whether the code is one of the user's; it then is no more. After a wrong one, none is taken for a moment."""
    device = StaticDevice.objects.filter(user=user, confirmed=True).first()
    is_taken = device is not None and verify_token(user, device.persistent_id, _hash_code(code)) is not None
    if is_taken:
        recovery_code_used.send(sender=__name__, request=request, user=user)
    return is_taken


def count_recovery_codes(user: User) -> int:
    """How many are still good."""
    left: int = StaticToken.objects.filter(device__user=user).count()
    return left


def delete_recovery_codes(user: User) -> None:
    """None is good from now on."""
    StaticDevice.objects.filter(user=user).delete()


def _hash_code(code: str) -> str:
    # Under SECRET_KEY: twelve digits alone could be tried out by who reads the table.
    return salted_hmac(_SALT, code, algorithm="sha256").hexdigest()[:_HASH_LENGTH]
