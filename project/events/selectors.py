"""Reads of the event log."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from project.auth.principal import Principal
from project.events.commit_order import low_watermark
from project.events.models import Event


@dataclass(frozen=True)
class EventFilter:
    """Selects events by the owner of the email, by type (such as `email.sent`) and by email. None matches any value."""

    owner_id: str | None
    types: frozenset[str] | None = None
    email_id: UUID | None = None

    @classmethod
    def for_principal(cls, principal: Principal, *, types: Iterable[str] | None = None, email_id: UUID | None = None) -> Self:
        """Return a filter that is limited to the events that a principal may see."""
        owner_id = None if principal.can_view_all else principal.owner_id
        return cls(owner_id, None if types is None else frozenset(types), email_id)

    def matches(self, event: Event) -> bool:
        """Return whether an event passes the filter."""
        return (
            (self.owner_id is None or event.owner == self.owner_id)
            and (self.types is None or event.type in self.types)
            and (self.email_id is None or event.email_id == self.email_id)
        )

    def apply(self, events: QuerySet[Event]) -> QuerySet[Event]:
        """Apply the filter to a queryset."""
        conditions = {"owner": self.owner_id, "type__in": self.types, "email_id": self.email_id}
        return events.filter(**{name: value for name, value in conditions.items() if value is not None})


def last_event_id() -> int:
    """Return the id of the last event, or 0. No event with a smaller id will be committed later."""
    return low_watermark(_newest_id())


def events_after(after: int, *, up_to: int | None = None, event_filter: EventFilter | None = None, limit: int) -> list[Event]:
    """Return the events after an id, in order and without their SMTP transcripts.

    No event with an id up to the last returned one will be committed later. `up_to` is an earlier result of `last_event_id`.
    """
    up_to = last_event_id() if up_to is None else up_to
    if up_to <= after:
        return []
    events = Event.objects.filter(id__gt=after, id__lte=up_to).defer("smtp_transcript").order_by("id")
    if event_filter is not None:
        events = event_filter.apply(events)
    return list(events[:limit])


def waits_for_writer(after: int) -> bool:
    """Return whether `events_after` withholds committed events because a transaction with a smaller id is still open."""
    return connection.vendor == "postgresql" and _newest_id() > after


def _newest_id() -> int:
    return Event.objects.order_by("-id").values_list("id", flat=True).first() or 0
