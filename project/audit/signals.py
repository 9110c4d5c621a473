"""What Django and the accounts tell, written down as it happens."""

from time import monotonic
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save, pre_delete, pre_save
from django.dispatch import receiver
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.lockout import client_ip
from project.accounts.models import User
from project.accounts.recovery_codes import recovery_code_used
from project.accounts.two_factor import NO_CODE, second_factor_missing
from project.api_keys.keys import key_label
from project.api_keys.models import ApiKey
from project.audit.deduplication import RecentEvents
from project.audit.models import AuditAction
from project.audit.store import build_audit_event
from project.auth.access_tokens import access_token_issued

WRONG_CREDENTIALS, LOCKED_OUT = "wrong login", "locked out"
VIA_ACCESS_TOKEN = "token"  # noqa: S105  # how, and no token
_recent = RecentEvents()
_ACTION_BY_FIELD = {"revoked_at": AuditAction.KEY_REVOKED, "previous_secret_hash": AuditAction.KEY_ROTATED}


@receiver(user_logged_in)
def _signed_in(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(AuditAction.SIGNED_IN, user.get_username(), request)


@receiver(access_token_issued)
def _signed_in_by_token(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(AuditAction.SIGNED_IN, user.get_username(), request, VIA_ACCESS_TOKEN)


@receiver(user_logged_out)
def _signed_out(request: HttpRequest, user: User | None, **_kwargs: Any) -> None:
    if user is not None:
        _write(AuditAction.SIGNED_OUT, user.get_username(), request)


@receiver(user_login_failed)
def _refused(
    credentials: dict[str, Any], request: HttpRequest | None = None, reason: str = WRONG_CREDENTIALS, **_kwargs: Any
) -> None:
    reason = LOCKED_OUT if getattr(request, "axes_locked_out", False) else reason
    if reason != LOCKED_OUT or _is_news(request):
        _write(AuditAction.REJECTED, str(credentials.get("username", "")), request, reason)


@receiver(second_factor_missing)
def _no_code(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    """No failed login, so no lock ends it: a user's is written down once a minute."""
    if _recent.is_new(user.get_username(), NO_CODE, now=monotonic()):
        _write(AuditAction.REJECTED, user.get_username(), request, NO_CODE)


def _is_news(request: HttpRequest | None) -> bool:
    """Who is locked out may go on trying, and is only written down once a minute."""
    now = monotonic()
    return _recent.has_room(now) and _recent.is_new((client_ip(request) if request else None) or "", LOCKED_OUT, now=now)


@receiver(post_save, sender=ApiKey)
def _key_changed(instance: ApiKey, created: bool, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    changed = [fact for field, fact in _ACTION_BY_FIELD.items() if field in (update_fields or ())]
    for fact in [AuditAction.KEY_CREATED] if created else changed:
        _write(fact, key_label(instance))


@receiver(pre_save, sender=User)
def _password_changes(instance: User, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    if update_fields is not None and instance._password is None:  # type: ignore[attr-defined]  # the stubs lack it
        return  # a login: its time, or the same password hashed as is done now
    before = User.objects.filter(pk=instance.pk).first()
    if before is not None and before.password != instance.password:
        _write(AuditAction.PASSWORD_CHANGED, instance.get_username())


@receiver([pre_save, pre_delete], sender=TOTPDevice)
def _device_changes(signal: object, instance: TOTPDevice, **_kwargs: Any) -> None:
    """Whoever does it: the user, staff or a command. Each device counts, also a second one that staff may add."""
    before = TOTPDevice.objects.filter(pk=instance.pk, confirmed=True).select_related("user").first()
    after = instance if signal is pre_save and instance.confirmed else None
    if before and after and before.user_id == after.user_id:
        return  # it has taken a code
    if before:
        _write(AuditAction.TWO_FACTOR_DISABLED, before.user.get_username())
    if after:
        _write(AuditAction.TWO_FACTOR_ENABLED, after.user.get_username())


@receiver(post_save, sender=StaticDevice)
def _recovery_codes_made(instance: StaticDevice, created: bool, **_kwargs: Any) -> None:
    if created:
        _write(AuditAction.RECOVERY_CODES_CREATED, instance.user.get_username())


@receiver(recovery_code_used)
def _recovery_code_used(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(AuditAction.RECOVERY_CODE_USED, user.get_username(), request)


def _write(fact: AuditAction, name: str, request: HttpRequest | None = None, reason: str = "") -> None:
    build_audit_event(
        fact, name, ip_address=request.META.get("REMOTE_ADDR") if request is not None else None, reason=reason
    ).save()
