"""Rows of the trail: made of what strangers say, and deleted when they are old."""

from datetime import datetime, timedelta
from ipaddress import ip_address

from django.conf import settings

from project.audit.models import AuditEvent, Fact

NAME_LENGTH = 150
BATCH = 1000


def event_of(fact: Fact, name: str, *, address: str | None = None, reason: str = "") -> AuditEvent:
    """A row to be saved."""
    known = name.replace("\x00", "")[:NAME_LENGTH]  # as typed by a stranger, perhaps, and PostgreSQL takes no NUL
    return AuditEvent(fact=fact, name=known, reason=reason, address=_storable(address))


def write_events(events: list[AuditEvent]) -> None:
    """Write down all of these."""
    AuditEvent.objects.bulk_create(events)


def delete_old_events(*, now: datetime) -> bool:
    """Delete some of those that are older than `AUDIT_DAYS`, the oldest first. Gives whether there may be more."""
    if not settings.AUDIT_DAYS:
        return False
    old = AuditEvent.objects.filter(at__lt=now - timedelta(days=settings.AUDIT_DAYS)).order_by("at")
    deleted, _ = AuditEvent.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:BATCH])).delete()
    return deleted == BATCH


def _storable(address: str | None) -> str | None:
    try:
        return str(ip_address((address or "").partition("%")[0]))
    except ValueError:
        return None  # a Unix socket's end has none
