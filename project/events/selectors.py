"""Reads of the event log."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from django.db.models import QuerySet

from project.auth.principal import Principal
from project.events.models import Event


@dataclass(frozen=True)
class EventFilter:
    """Which events. `caller_id` is whose mails they are of, None for everybody's; `types` as in `email.sent`."""

    owner_id: str | None
    types: frozenset[str] | None = None
    email_id: UUID | None = None

    @classmethod
    def by(cls, principal: Principal, *, types: Iterable[str] | None = None, email_id: UUID | None = None) -> Self:
        """What a caller wants of what it may see."""
        whose = None if principal.can_view_all else principal.owner_id
        return cls(whose, None if types is None else frozenset(types), email_id)

    def includes(self, event: Event) -> bool:
        """Whether an event is wanted."""
        return (
            (self.owner_id is None or event.owner == self.owner_id)
            and (self.types is None or event.type in self.types)
            and (self.email_id is None or event.email_id == self.email_id)
        )

    def apply(self, events: QuerySet[Event]) -> QuerySet[Event]:
        """Those of `events` that are wanted."""
        wanted = {"owner": self.owner_id, "type__in": self.types, "email_id": self.email_id}
        return events.filter(**{name: value for name, value in wanted.items() if value is not None})


def last_event_id() -> int:
    """The id of the last event, or 0."""
    return Event.objects.order_by("-id").values_list("id", flat=True).first() or 0


def events_after(after: int, *, upto: int | None = None, wanted: EventFilter | None = None, limit: int) -> list[Event]:
    """The events after one, in the order of their commits, without the SMTP conversations."""
    events = Event.objects.filter(id__gt=after).defer("smtp_transcript").order_by("id")
    if upto is not None:
        events = events.filter(id__lte=upto)
    if wanted is not None:
        events = wanted.apply(events)
    return list(events[:limit])
