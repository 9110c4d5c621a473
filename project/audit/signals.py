"""Signal receivers that write to the audit trail: logins and logouts, API keys, passwords and two-factor login."""

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

WRONG_CREDENTIALS, LOCKED_OUT = "wrong credentials", "locked out"
VIA_ACCESS_TOKEN = "token"  # noqa: S105  # a way to log in, not a token
_recent = RecentEvents()
_ACTION_BY_FIELD = {"revoked_at": AuditAction.KEY_REVOKED, "previous_secret_hash": AuditAction.KEY_ROTATED}


@receiver(user_logged_in)
def _on_login(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(AuditAction.LOGGED_IN, user.get_username(), request)


@receiver(access_token_issued)
def _on_access_token_issued(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(AuditAction.LOGGED_IN, user.get_username(), request, VIA_ACCESS_TOKEN)


@receiver(user_logged_out)
def _on_logout(request: HttpRequest, user: User | None, **_kwargs: Any) -> None:
    if user is not None:
        _write(AuditAction.LOGGED_OUT, user.get_username(), request)


@receiver(user_login_failed)
def _on_login_failed(
    credentials: dict[str, Any], request: HttpRequest | None = None, reason: str = WRONG_CREDENTIALS, **_kwargs: Any
) -> None:
    reason = LOCKED_OUT if getattr(request, "axes_locked_out", False) else reason
    if reason != LOCKED_OUT or _is_new_lockout(request):
        _write(AuditAction.REJECTED, str(credentials.get("username", "")), request, reason)


@receiver(second_factor_missing)
def _on_second_factor_missing(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    """Write at most one row a minute for each user.

    A missing code does not count as a failed login, so the lockout does not limit these attempts.
    """
    if _recent.is_new(user.get_username(), NO_CODE, now=monotonic()):
        _write(AuditAction.REJECTED, user.get_username(), request, NO_CODE)


def _is_new_lockout(request: HttpRequest | None) -> bool:
    """Return whether to write a row for this attempt: at most one row a minute is written for each locked-out client."""
    now = monotonic()
    return _recent.has_capacity(now) and _recent.is_new((client_ip(request) if request else None) or "", LOCKED_OUT, now=now)


@receiver(post_save, sender=ApiKey)
def _on_key_saved(instance: ApiKey, created: bool, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    changes = [action for field, action in _ACTION_BY_FIELD.items() if field in (update_fields or ())]
    for action in [AuditAction.KEY_CREATED] if created else changes:
        _write(action, key_label(instance))


@receiver(pre_save, sender=User)
def _on_password_change(instance: User, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    if update_fields is not None and instance._password is None:  # type: ignore[attr-defined]  # the stubs lack it
        return  # a login only updates `last_login`, or hashes the same password with current parameters
    before = User.objects.filter(pk=instance.pk).first()
    if before is not None and before.password != instance.password:
        _write(AuditAction.PASSWORD_CHANGED, instance.get_username())


@receiver([pre_save, pre_delete], sender=TOTPDevice)
def _on_device_change(signal: object, instance: TOTPDevice, **_kwargs: Any) -> None:
    """Record when a confirmed device is added, removed or moved to another user."""
    before = TOTPDevice.objects.filter(pk=instance.pk, confirmed=True).select_related("user").first()
    after = instance if signal is pre_save and instance.confirmed else None
    if before and after and before.user_id == after.user_id:
        return  # the device only verified a code
    if before:
        _write(AuditAction.TWO_FACTOR_DISABLED, before.user.get_username())
    if after:
        _write(AuditAction.TWO_FACTOR_ENABLED, after.user.get_username())


@receiver(post_save, sender=StaticDevice)
def _on_recovery_codes_created(instance: StaticDevice, created: bool, **_kwargs: Any) -> None:
    if created:
        _write(AuditAction.RECOVERY_CODES_CREATED, instance.user.get_username())


@receiver(recovery_code_used)
def _on_recovery_code_used(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(AuditAction.RECOVERY_CODE_USED, user.get_username(), request)


def _write(action: AuditAction, actor: str, request: HttpRequest | None = None, reason: str = "") -> None:
    ip_address = request.META.get("REMOTE_ADDR") if request is not None else None
    build_audit_event(action, actor, ip_address=ip_address, reason=reason).save()
