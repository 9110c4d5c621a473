"""What Django and the accounts tell, written down as it happens."""

from ipaddress import ip_address
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from project.accounts.keys import PREFIX
from project.accounts.models import ApiKey, User
from project.audit.models import AuditEvent, Fact

NAME_LENGTH = 150
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
    _write(Fact.REFUSED, str(credentials.get("username", "")), request)


@receiver(post_save, sender=ApiKey)
def _key_changed(instance: ApiKey, created: bool, update_fields: frozenset[str] | None, **_kwargs: Any) -> None:
    changed = [fact for field, fact in _CHANGES.items() if field in (update_fields or ())]
    for fact in [Fact.KEY_MADE] if created else changed:
        _write(fact, f"{instance.name} ({PREFIX}{instance.public}…)")


def _write(fact: Fact, name: str, request: HttpRequest | None = None) -> None:
    known = name.replace("\x00", "")[:NAME_LENGTH]  # as typed by a stranger, perhaps, and PostgreSQL takes no NUL
    AuditEvent.objects.create(fact=fact, name=known, address=_address_of(request))


def _address_of(request: HttpRequest | None) -> str | None:
    address = request.META.get("REMOTE_ADDR", "") if request is not None else ""
    try:
        return str(ip_address(address))
    except ValueError:
        return None  # a Unix socket's end has none
