"""What Django and the accounts tell, written down as it happens."""

from time import monotonic
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save, pre_delete, pre_save
from django.dispatch import receiver
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.keys import known_as
from project.accounts.lockout import address_of
from project.accounts.models import ApiKey, User
from project.accounts.principal import Why
from project.accounts.recovery_codes import recovery_code_used
from project.accounts.tokens import token_issued
from project.accounts.two_factor import no_code_given
from project.audit.models import Fact
from project.audit.recent import Recent
from project.audit.record import event_of

WRONG_LOGIN, LOCKED_OUT = "wrong login", "locked out"
BY_TOKEN = "token"  # noqa: S105  # how, and no token
_recent = Recent()
_CHANGES = {"revoked_at": Fact.KEY_REVOKED, "previous_hashed": Fact.KEY_ROTATED}


@receiver(user_logged_in)
def _signed_in(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(Fact.SIGNED_IN, user.get_username(), request)


@receiver(token_issued)
def _signed_in_by_token(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(Fact.SIGNED_IN, user.get_username(), request, BY_TOKEN)


@receiver(user_logged_out)
def _signed_out(request: HttpRequest, user: User | None, **_kwargs: Any) -> None:
    if user is not None:
        _write(Fact.SIGNED_OUT, user.get_username(), request)


@receiver(user_login_failed)
def _refused(credentials: dict[str, Any], request: HttpRequest | None = None, reason: str = WRONG_LOGIN, **_kwargs: Any) -> None:
    reason = LOCKED_OUT if getattr(request, "axes_locked_out", False) else reason
    if reason != LOCKED_OUT or _is_news(request):
        _write(Fact.REFUSED, str(credentials.get("username", "")), request, reason)


@receiver(no_code_given)
def _no_code(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    """No failed login, so no lock ends it: a user's is written down once a minute."""
    if _recent.is_news(user.get_username(), Why.NO_CODE, now=monotonic()):
        _write(Fact.REFUSED, user.get_username(), request, Why.NO_CODE)


def _is_news(request: HttpRequest | None) -> bool:
    """Who is locked out may go on trying, and is only written down once a minute."""
    now = monotonic()
    return _recent.has_room(now) and _recent.is_news((address_of(request) if request else None) or "", LOCKED_OUT, now=now)


@receiver(post_save, sender=ApiKey)
def _key_changed(instance: ApiKey, created: bool, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    changed = [fact for field, fact in _CHANGES.items() if field in (update_fields or ())]
    for fact in [Fact.KEY_MADE] if created else changed:
        _write(fact, known_as(instance))


@receiver(pre_save, sender=User)
def _password_changes(instance: User, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    if update_fields is not None and instance._password is None:  # type: ignore[attr-defined]  # the stubs lack it
        return  # a login: its time, or the same password hashed as is done now
    before = User.objects.filter(pk=instance.pk).first()
    if before is not None and before.password != instance.password:
        _write(Fact.PASSWORD_CHANGED, instance.get_username())


@receiver([pre_save, pre_delete], sender=TOTPDevice)
def _device_changes(signal: object, instance: TOTPDevice, **_kwargs: Any) -> None:
    """Whoever does it: the user, staff or a command. Each device counts, also a second one that staff may add."""
    before = TOTPDevice.objects.filter(pk=instance.pk, confirmed=True).select_related("user").first()
    after = instance if signal is pre_save and instance.confirmed else None
    if before and after and before.user_id == after.user_id:
        return  # it has taken a code
    if before:
        _write(Fact.TWO_FACTOR_LOGIN_OFF, before.user.get_username())
    if after:
        _write(Fact.TWO_FACTOR_LOGIN_ON, after.user.get_username())


@receiver(post_save, sender=StaticDevice)
def _recovery_codes_made(instance: StaticDevice, created: bool, **_kwargs: Any) -> None:
    if created:
        _write(Fact.RECOVERY_CODES_MADE, instance.user.get_username())


@receiver(recovery_code_used)
def _recovery_code_used(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(Fact.RECOVERY_CODE_USED, user.get_username(), request)


def _write(fact: Fact, name: str, request: HttpRequest | None = None, reason: str = "") -> None:
    event_of(fact, name, address=request.META.get("REMOTE_ADDR") if request is not None else None, reason=reason).save()
