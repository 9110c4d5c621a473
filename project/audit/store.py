"""Builds and writes rows of the audit trail."""

from project.audit.actor import current_actor
from project.audit.models import AuditAction, AuditEvent
from project.config.displayed_text import remove_misleading_characters
from project.limits.client_network import valid_ip_address

MAX_ACTOR_LENGTH, MAX_OBJECT_LENGTH = 150, 300  # characters


def build_audit_event(action: AuditAction, actor: str, *, ip_address: str | None = None, reason: str = "") -> AuditEvent:
    """Return an unsaved row. The actor may be untrusted input: it is truncated, and misleading characters are removed."""
    name = remove_misleading_characters(actor)[:MAX_ACTOR_LENGTH]
    return AuditEvent(action=action, actor=name, reason=reason, ip_address=valid_ip_address(ip_address))


def record_change(action: AuditAction, changed_object: str) -> None:
    """Insert a row about a change by the current actor, in the transaction of the change."""
    actor = current_actor()
    event = build_audit_event(action, actor.name, ip_address=actor.ip_address)
    event.actor_kind, event.object = actor.kind, remove_misleading_characters(changed_object)[:MAX_OBJECT_LENGTH]
    event.save()


def write_audit_events(events: list[AuditEvent]) -> None:
    """Insert the rows."""
    AuditEvent.objects.bulk_create(events)
