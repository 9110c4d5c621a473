"""What Django and the accounts tell, written down as it happens."""

from time import monotonic
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from project.accounts.keys import known_as
from project.accounts.lockout import address_of
from project.accounts.models import ApiKey, User
from project.audit.models import Fact
from project.audit.recent import Recent
from project.audit.record import event_of

WRONG_LOGIN, LOCKED_OUT = "wrong login", "locked out"
_recent = Recent()
_CHANGES = {"revoked_at": Fact.KEY_REVOKED, "previous_hashed": Fact.KEY_ROTATED}


@receiver(user_logged_in)
def _signed_in(request: HttpRequest, user: User, **_kwargs: Any) -> None:
    _write(Fact.SIGNED_IN, user.get_username(), request)


@receiver(user_logged_out)
def _signed_out(request: HttpRequest, user: User | None, **_kwargs: Any) -> None:
    if user is not None:
        _write(Fact.SIGNED_OUT, user.get_username(), request)


@receiver(user_login_failed)
def _refused(credentials: dict[str, Any], request: HttpRequest | None = None, **_kwargs: Any) -> None:
    reason = LOCKED_OUT if getattr(request, "axes_locked_out", False) else WRONG_LOGIN
    if reason == WRONG_LOGIN or _is_news(request):
        _write(Fact.REFUSED, str(credentials.get("username", "")), request, reason)


def _is_news(request: HttpRequest | None) -> bool:
    """Who is locked out may go on trying, and is only written down once a minute."""
    now = monotonic()
    return _recent.has_room(now) and _recent.is_news((address_of(request) if request else None) or "", LOCKED_OUT, now=now)


@receiver(post_save, sender=ApiKey)
def _key_changed(instance: ApiKey, created: bool, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    changed = [fact for field, fact in _CHANGES.items() if field in (update_fields or ())]
    for fact in [Fact.KEY_MADE] if created else changed:
        _write(fact, known_as(instance))


def _write(fact: Fact, name: str, request: HttpRequest | None = None, reason: str = "") -> None:
    event_of(fact, name, address=request.META.get("REMOTE_ADDR") if request is not None else None, reason=reason).save()
