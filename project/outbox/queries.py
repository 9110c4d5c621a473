"""The named reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce

from project.accounts.principal import Principal
from project.errors import Refusal
from project.outbox.models import Email, Event
from project.outbox.states import PASSING, WAITING_FOR_ITS_TIME


class EmailNotFound(Refusal):
    """There is no such e-mail, or it is another's."""

    code = "email_not_found"


@dataclass(frozen=True)
class Page:
    """Which of many. `after` is the id of the last one seen."""

    after: UUID | None = None
    limit: int = 20


@dataclass(frozen=True)
class Filter:
    """Which of all. `to` is a recipient's address, `tag` a key and its value."""

    status: str | None = None
    to: str | None = None
    tag: tuple[str, ...] | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether few are wanted, which an index of their own has."""
        return self.to is not None or self.tag is not None or self.status in PASSING

    def newest(self) -> QuerySet[Email]:
        """Those that are wanted, the newest first, in an order that its index has."""
        emails, order = Email.objects.all(), "-id"
        if self.status is not None:
            emails = emails.filter(status=self.status)
        if self.tag is not None:
            key, value = self.tag
            emails, order = emails.filter(tag__key=key, tag__value=value), "-tag__email_id"
        if self.to is not None:
            emails, order = emails.filter(recipient__address=self.to), "-recipient__email_id"
        return emails.order_by(order)


@dataclass(frozen=True)
class Wanted:
    """Which events. `caller_id` is whose mails they are of, None for everybody's; `types` as in `email.sent`."""

    caller_id: str | None
    types: frozenset[str] | None = None
    email_id: UUID | None = None

    @classmethod
    def by(cls, caller: Principal, *, types: Iterable[str] | None = None, email_id: UUID | None = None) -> Self:
        """What a caller wants of what it may see."""
        whose = None if caller.sees_all else caller.caller_id
        return cls(whose, None if types is None else frozenset(types), email_id)

    def includes(self, event: Event) -> bool:
        """Whether an event is wanted."""
        return (
            (self.caller_id is None or event.caller == self.caller_id)
            and (self.types is None or event.type in self.types)
            and (self.email_id is None or event.email_id == self.email_id)
        )

    def apply(self, events: QuerySet[Event]) -> QuerySet[Event]:
        """Those of `events` that are wanted."""
        wanted = {"caller": self.caller_id, "type__in": self.types, "email_id": self.email_id}
        return events.filter(**{name: value for name, value in wanted.items() if value is not None})


def visible_to(caller: Principal) -> QuerySet[Email]:
    """What a caller may see: its own, and for signed-in staff all."""
    return Email.objects.all() if caller.sees_all else _own(caller)


def changeable_by(caller: Principal) -> QuerySet[Email]:
    """What a caller may change: its own, and for staff who may change mails all."""
    return Email.objects.all() if caller.changes_all else _own(caller)


def _own(caller: Principal) -> QuerySet[Email]:
    return Email.objects.filter(caller=caller.caller_id) if caller.caller_id else Email.objects.none()


def _with_template(emails: QuerySet[Email]) -> QuerySet[Email]:
    """With the name and version of what they were made from, and not its text."""
    return emails.select_related("template").defer("template__subject", "template__text", "template__html")


def get_email(email_id: UUID, *, caller: Principal) -> Email:
    """One of the caller's. Raises `EmailNotFound`."""
    email = _with_template(visible_to(caller)).filter(id=email_id).first()
    if email is None:
        raise EmailNotFound("There is no such e-mail.")
    return email


def list_emails(wanted: Filter, page: Page, *, caller: Principal) -> list[Email]:
    """The caller's, newest first: one more than the page holds, if there are more."""
    emails = wanted.newest()
    if not caller.sees_all and wanted.is_narrow:
        # No index has this: else a planner without statistics takes the caller's, and reads a million to find a few.
        emails = emails.alias(whose=Coalesce("caller", Value(""))).filter(whose=caller.caller_id)
    elif not caller.sees_all:
        emails = emails.filter(caller=caller.caller_id)
    emails = _with_template(emails).defer("text", "html")
    if page.after is not None:
        emails = emails.filter(id__lt=page.after)
    return list(emails[: page.limit + 1])


def events_of(email_id: UUID, *, caller: Principal) -> list[Event]:
    """What happened to one of the caller's mails, oldest first. Raises `EmailNotFound`."""
    return list(get_email(email_id, caller=caller).events.order_by("id"))


def next_due() -> datetime | None:
    """When the next mail that waits for its time is due."""
    waiting = Email.objects.filter(status__in=WAITING_FOR_ITS_TIME, next_attempt_at__isnull=False).order_by("next_attempt_at")
    return waiting.values_list("next_attempt_at", flat=True).first()


def last_event_id() -> int:
    """The id of the last event, or 0."""
    return Event.objects.order_by("-id").values_list("id", flat=True).first() or 0


def events_after(after: int, *, upto: int | None = None, wanted: Wanted | None = None, limit: int) -> list[Event]:
    """The events after one, in the order of their commits, without the SMTP conversations."""
    events = Event.objects.filter(id__gt=after).defer("dialogue").order_by("id")
    if upto is not None:
        events = events.filter(id__lte=upto)
    if wanted is not None:
        events = wanted.apply(events)
    return list(events[:limit])
