"""Builds and writes rows of the audit trail."""

from ipaddress import ip_address as parse_ip_address

from project.audit.models import AuditAction, AuditEvent

MAX_ACTOR_LENGTH = 150  # characters


def build_audit_event(action: AuditAction, actor: str, *, ip_address: str | None = None, reason: str = "") -> AuditEvent:
    """Return an unsaved row. The actor may be untrusted input: it is truncated, and NUL, which PostgreSQL rejects, is removed."""
    name = actor.replace("\x00", "")[:MAX_ACTOR_LENGTH]
    return AuditEvent(action=action, actor=name, reason=reason, ip_address=_valid_ip_address(ip_address))


def write_audit_events(events: list[AuditEvent]) -> None:
    """Insert the rows."""
    AuditEvent.objects.bulk_create(events)


def _valid_ip_address(text: str | None) -> str | None:
    try:
        return str(parse_ip_address((text or "").partition("%")[0]))
    except ValueError:
        return None  # a client of a Unix socket has no IP address
