"""Queries of emails, limited to the emails that a principal may see or change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery

from project.auth.principal import Principal
from project.emails.indexes import NOT_NORMAL
from project.emails.models import Email, Recipient, Tag
from project.emails.priority import Priority
from project.errors import DomainError
from project.events.models import Event

MAX_COUNTED_ROWS = 1000  # of each condition, to find the condition with the fewest rows


class EmailNotFound(DomainError):
    """The email does not exist, or the caller may not see it."""

    code = "email_not_found"


@dataclass(frozen=True)
class PageRequest:
    """One page of a list (keyset pagination): up to `limit` emails that follow the email with the id `after`."""

    after: UUID | None = None
    limit: int = 20


@dataclass(frozen=True)
class EmailFilter:
    """Filter of a list of emails.

    `to` is a recipient's address in any case, `tag` a pair of key and value, `reason` a normalized reason.
    """

    status: str | None = None
    to: str | None = None
    tag: tuple[str, ...] | None = None
    reason: str | None = None
    priority: Priority | None = None

    def conditions(self, owner: str | None) -> "list[_Condition]":
        """Return the conditions of this filter on the emails of one owner, or of all owners if it is None."""
        by_owner = {} if owner is None else {"owner": owner}
        emails = Email.objects.filter(**by_owner)
        conditions = []
        if self.tag is not None:
            key, value = self.tag
            conditions.append(_Condition(Tag.objects.filter(key=key, value=value, **by_owner), "email_id"))
        if self.to is not None:
            conditions.append(_Condition(Recipient.objects.filter(address=self.to.lower(), **by_owner), "email_id"))
        if self.reason is not None:
            conditions.append(_Condition(emails.filter(reason=self.reason), "pk"))
        if self.priority is not None:
            conditions.append(_Condition(with_priority(emails, self.priority), "pk"))
        if self.status is not None:
            conditions.append(_Condition(emails.filter(status=self.status), "pk"))
        return conditions or [_Condition(emails, "pk")]


@dataclass(frozen=True)
class _Condition:
    """A condition on emails: rows of one table, with an index that finds these rows in the order of the emails' ids."""

    rows: QuerySet[Any]
    id_field: str  # the id of the email

    def before(self, after: UUID | None) -> QuerySet[Any]:
        """Return the rows of the emails that follow `after` in a list, newest first."""
        rows = self.rows if after is None else self.rows.filter(**{f"{self.id_field}__lt": after})
        return rows.order_by(f"-{self.id_field}")

    def restrict(self, rows: QuerySet[Any], id_field: str) -> QuerySet[Any]:
        """Return those of another condition's rows whose emails fulfill this condition too.

        Each row is checked alone. With EXISTS, PostgreSQL may read all rows of this condition first.
        """
        found = Subquery(self.rows.filter(**{self.id_field: OuterRef(id_field)}).values(self.id_field)[:1])
        restricted: QuerySet[Any] = rows.alias(found=found).filter(found__isnull=False)
        return restricted


def with_priority(emails: QuerySet[Email], priority: Priority) -> QuerySet[Email]:
    """Return the emails of a priority. The index of high and low emails is used only if the query has the index's condition."""
    found = emails.filter(priority=priority)
    return found if priority == Priority.NORMAL else found.filter(NOT_NORMAL)


def visible_to(principal: Principal) -> QuerySet[Email]:
    """Return the emails that the principal may see: its own, or all emails for staff with the permission to view emails."""
    return Email.objects.all() if principal.can_view_all else _owned_by(principal)


def changeable_by(principal: Principal) -> QuerySet[Email]:
    """Return the emails that the principal may change: its own, or all emails for staff with the permission to change emails."""
    return Email.objects.all() if principal.can_change_all else _owned_by(principal)


def _owned_by(principal: Principal) -> QuerySet[Email]:
    return Email.objects.filter(owner=principal.owner_id) if principal.owner_id else Email.objects.none()


def _with_template(emails: QuerySet[Email]) -> QuerySet[Email]:
    """Join each email's template version, without its source text."""
    return emails.select_related("template").defer("template__subject", "template__text", "template__html")


def get_email(email_id: UUID, *, principal: Principal) -> Email:
    """Return an email that the principal may see. Raises `EmailNotFound`."""
    email = _with_template(visible_to(principal)).filter(id=email_id).first()
    if email is None:
        raise EmailNotFound("Email not found.")
    return email


def list_emails(filters: EmailFilter, page: PageRequest, *, principal: Principal) -> list[Email]:
    """Return a page of the emails that the principal may see, newest first, and one more email if there is a next page."""
    owner = None if principal.can_view_all else principal.owner_id
    if owner == "":
        return []
    ids = _newest_ids(filters.conditions(owner), after=page.after, limit=page.limit + 1)
    return list(_with_template(Email.objects.filter(id__in=ids)).defer("text", "html").order_by("-id"))


def _newest_ids(conditions: "Sequence[_Condition]", *, after: UUID | None, limit: int) -> list[UUID]:
    """Return the ids of the newest emails that fulfill all conditions.

    Reads the rows of one condition, newest first, and checks the other conditions for each row. With a join instead, SQLite,
    which has no statistics, and PostgreSQL, which has estimates, may start with a condition that a million emails fulfill.
    """
    first = conditions[0] if len(conditions) == 1 else min(conditions, key=lambda each: _limited_count(each.before(after)))
    rows = first.before(after)
    for condition in conditions:
        rows = rows if condition is first else condition.restrict(rows, first.id_field)
    return list(rows.values_list(first.id_field, flat=True)[:limit])


def _limited_count(rows: QuerySet[Any]) -> int:
    return rows[:MAX_COUNTED_ROWS].count()


def list_email_events(email_id: UUID, *, principal: Principal) -> list[Event]:
    """Return the events of an email that the principal may see, oldest first. Raises `EmailNotFound`."""
    return list(get_email(email_id, principal=principal).events.order_by("id"))
