"""Signal receivers that write to the audit trail: logins and logouts, and changes of credentials, templates and suppressions."""

from time import monotonic
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save, pre_delete, pre_save
from django.dispatch import receiver
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.lockout import client_ip, is_refused
from project.accounts.models import User
from project.accounts.reauthentication import reauthenticated
from project.accounts.recovery_codes import recovery_code_used
from project.accounts.sessions import sessions_ended
from project.accounts.two_factor import NO_CODE, second_factor_missing
from project.api_keys.keys import key_label
from project.api_keys.models import ApiKey
from project.audit.deduplication import RecentEvents
from project.audit.models import AuditAction
from project.audit.store import build_audit_event, record_change
from project.auth.access_tokens import access_token_issued
from project.mail_templates.store import template_deleted, template_saved
from project.suppressions.csv import suppressions_imported
from project.suppressions.store import suppression_added, suppression_removed, suppressions_removed

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
    reason = LOCKED_OUT if is_refused(request) else reason
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
        record_change(action, key_label(instance))


@receiver(pre_save, sender=User)
def _on_password_change(instance: User, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    if update_fields is not None and instance._password is None:  # type: ignore[attr-defined]  # the stubs lack it
        return  # a login only updates `last_login`, or hashes the same password with current parameters
    before = User.objects.filter(pk=instance.pk).first()
    if before is not None and before.password != instance.password:
        record_change(AuditAction.PASSWORD_CHANGED, instance.get_username())


@receiver([pre_save, pre_delete], sender=TOTPDevice)
def _on_device_change(signal: object, instance: TOTPDevice, **_kwargs: Any) -> None:
    """Record when a confirmed device is added, removed or moved to another user."""
    before = TOTPDevice.objects.filter(pk=instance.pk, confirmed=True).select_related("user").first()
    after = instance if signal is pre_save and instance.confirmed else None
    if before and after and before.user_id == after.user_id:
        return  # the device only verified a code
    if before:
        record_change(AuditAction.TWO_FACTOR_DISABLED, before.user.get_username())
    if after:
        record_change(AuditAction.TWO_FACTOR_ENABLED, after.user.get_username())


@receiver(sessions_ended)
def _on_sessions_ended(user: User, **_kwargs: Any) -> None:
    record_change(AuditAction.SESSIONS_ENDED, user.get_username())


@receiver(reauthenticated)
def _on_reauthentication(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(AuditAction.REAUTHENTICATED, user.get_username(), request)


@receiver(post_save, sender=StaticDevice)
def _on_recovery_codes_created(instance: StaticDevice, created: bool, **_kwargs: Any) -> None:
    if created:
        record_change(AuditAction.RECOVERY_CODES_CREATED, instance.user.get_username())


@receiver(recovery_code_used)
def _on_recovery_code_used(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(AuditAction.RECOVERY_CODE_USED, user.get_username(), request)


@receiver(template_saved)
def _on_template_saved(slug: str, version: int, **_kwargs: Any) -> None:
    record_change(AuditAction.TEMPLATE_SAVED, f"{slug} (version {version})")


@receiver(template_deleted)
def _on_template_deleted(slug: str, **_kwargs: Any) -> None:
    record_change(AuditAction.TEMPLATE_DELETED, slug)


@receiver(suppression_added)
def _on_suppression_added(address: str, **_kwargs: Any) -> None:
    record_change(AuditAction.SUPPRESSION_ADDED, address)


@receiver(suppression_removed)
def _on_suppression_removed(address: str, **_kwargs: Any) -> None:
    record_change(AuditAction.SUPPRESSION_REMOVED, address)


@receiver(suppressions_removed)
def _on_suppressions_removed(count: int, prefix: str, **_kwargs: Any) -> None:
    which = f" beginning with {prefix}" if prefix else ""
    record_change(AuditAction.SUPPRESSION_REMOVED, f"{count} address{'' if count == 1 else 'es'}{which}")


@receiver(suppressions_imported)
def _on_suppressions_imported(count: int, **_kwargs: Any) -> None:
    record_change(AuditAction.SUPPRESSIONS_IMPORTED, f"{count} address{'' if count == 1 else 'es'} of a CSV file")


def _write(action: AuditAction, actor: str, request: HttpRequest | None = None, reason: str = "") -> None:
    ip_address = request.META.get("REMOTE_ADDR") if request is not None else None
    build_audit_event(action, actor, ip_address=ip_address, reason=reason).save()
