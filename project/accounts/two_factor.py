"""Two-factor login: beside the password, a code from an app (TOTP, RFC 6238) or a recovery code, for who has set it up.

A session or token of somebody with a device was given for a code: to set one up ends all others (`User.get_session_auth_hash`).
"""

from base64 import b32encode

import segno
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.db import transaction
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils.safestring import SafeString, mark_safe
from django_otp import verify_token
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.lockout import require_unlocked
from project.accounts.models import User
from project.accounts.recovery_codes import create_recovery_codes, delete_recovery_codes, is_recovery_code, use_recovery_code
from project.errors import DomainError

WRONG_CODE, NO_CODE = "wrong code", "no code"  # reasons in the audit trail
second_factor_missing = Signal()  # with `request` and `user`: the password was right


class TwoFactorRequired(DomainError):
    """The password alone does not do, or the code is wrong."""

    code = "two_factor_required"


def must_set_up_two_factor(user: User) -> bool:
    """Whether somebody may not go on before they have a device."""
    return bool(settings.REQUIRE_2FA) and user.is_staff and user.device is None


def require_second_factor(request: HttpRequest, user: User, code: str) -> None:
    """Raise `TwoFactorRequired` unless the code is right, or the user has no device. A code is good once.

    None is no failed login. A wrong one is: raises `LockedOut` if it was one too many.
    """
    if (device := user.device) is None:
        return
    if not code:
        second_factor_missing.send(sender=__name__, request=request, user=user)
        raise TwoFactorRequired("This user signs in with a code, too.")
    if not _verify(request, user, device, code):
        credentials = {"username": user.get_username()}
        user_login_failed.send(sender=__name__, credentials=credentials, request=request, reason=WRONG_CODE)
        require_unlocked(request, user.get_username())
        raise TwoFactorRequired("The code is wrong, or was used before. After a wrong one, wait a moment.")


def begin_setup(user: User) -> TOTPDevice:
    """A device with a new secret, which counts once a code from it has come."""
    TOTPDevice.objects.filter(user=user, confirmed=False).delete()
    return TOTPDevice.objects.create(user=user, name="app", confirmed=False)


def pending_device(user: User) -> TOTPDevice | None:
    """The one that was begun."""
    return TOTPDevice.objects.filter(user=user, confirmed=False).first()


@transaction.atomic
def finish_setup(user: User, code: str) -> list[str] | None:
    """Take the pending device for good if the code is from it. Ends the user's sessions and tokens, and gives recovery codes."""
    pending = pending_device(user)
    if pending is None or user.device is not None or verify_token(user, pending.persistent_id, _normalize_code(code)) is None:
        return None
    pending.refresh_from_db()
    pending.confirmed = True
    pending.save(update_fields=["confirmed"])
    return create_recovery_codes(user)


def renew_recovery_codes(request: HttpRequest, user: User, code: str) -> list[str] | None:
    """New recovery codes in place of the old ones, for who has the app or one of these."""
    device = user.device
    return create_recovery_codes(user) if device is not None and _verify(request, user, device, code) else None


def disable_with_code(request: HttpRequest, user: User, code: str) -> bool:
    """Let somebody who has the app, or a recovery code, sign in without."""
    device = user.device
    return device is not None and _verify(request, user, device, code) and disable_two_factor(user)


def disable_two_factor(user: User) -> bool:
    """Let somebody sign in with the password alone. Gives whether there was a device. Ends sessions and tokens, too."""
    delete_recovery_codes(user)
    return bool(TOTPDevice.objects.filter(user=user).delete()[0])


def qr_code_svg(device: TOTPDevice) -> SafeString:
    """What an app scans, as SVG to be put into a page."""
    picture = segno.make(device.config_url, error="m")
    return mark_safe(picture.svg_inline(scale=5, border=3, light="white", dark="black"))  # noqa: S308  # all of it is segno's


def setup_key(device: TOTPDevice) -> str:
    """The same for people to type: base 32, in groups of four."""
    text = b32encode(device.bin_key).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def _verify(request: HttpRequest, user: User, device: TOTPDevice, code: str) -> bool:
    code = _normalize_code(code)
    if is_recovery_code(code):  # never tried at the app's device, which would make the user wait for it
        return use_recovery_code(request, user, code)
    return verify_token(user, device.persistent_id, code) is not None


def _normalize_code(code: str) -> str:
    return code.replace(" ", "").replace("-", "")
