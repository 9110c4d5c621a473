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
from project.emails.status import NOT_SENT
from project.errors import DomainError
from project.events.models import Event

MAX_COUNTED_ROWS = 1000  # of each condition, to find the condition with the fewest rows
# Rows of one condition that are checked against the other conditions for one page. If many emails match each condition, but few
# match all of them, a page may have fewer emails than requested.
MAX_CHECKED_ROWS = 5000
FIRST_CHECKED_ROWS = 200  # if these rows contain enough emails, as they usually do, no more rows are read


class EmailNotFound(DomainError):
    """The email does not exist, or the caller may not see it."""

    code = "email_not_found"


@dataclass(frozen=True)
class PageRequest:
    """One page of a list (keyset pagination): up to `limit` emails that follow the email with the id `after`."""

    after: UUID | None = None
    limit: int = 20


@dataclass(frozen=True)
class Page:
    """Emails of one page, and the `after` of the next page; None on the last page."""

    emails: list[Email]
    next: UUID | None


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
            is_rare = self.priority != Priority.NORMAL
            conditions.append(_Condition(with_priority(emails, self.priority), "pk", has_index=is_rare))
        if self.status is not None:
            has_index = owner is not None or self.status in NOT_SENT
            conditions.append(_Condition(emails.filter(status=self.status), "pk", has_index=has_index))
        return conditions if any(each.has_index for each in conditions) else [*conditions, _Condition(emails, "pk")]


@dataclass(frozen=True)
class _Condition:
    """A condition on emails: rows of one table. Most have an index that finds these rows in the order of the emails' ids."""

    rows: QuerySet[Any]
    id_field: str  # the id of the email
    has_index: bool = True

    def before(self, after: UUID | None) -> QuerySet[Any]:
        """Return the rows of the emails that follow `after` in a list, newest first."""
        rows = self.rows if after is None else self.rows.filter(**{f"{self.id_field}__lt": after})
        return rows.order_by(f"-{self.id_field}")

    def ids(self, rows: QuerySet[Any]) -> QuerySet[Any, UUID]:
        """Return the ids of the emails of some rows of this condition."""
        return rows.values_list(self.id_field, flat=True)

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


def list_emails(filters: EmailFilter, request: PageRequest, *, principal: Principal) -> Page:
    """Return a page of the emails that the principal may see, newest first."""
    owner = None if principal.can_view_all else principal.owner_id
    if owner == "":
        return Page([], None)
    ids, last_checked = _newest_ids(filters.conditions(owner), after=request.after, limit=request.limit + 1)
    next_after = ids[request.limit - 1] if len(ids) > request.limit else last_checked
    emails = _with_template(Email.objects.filter(id__in=ids[: request.limit])).defer("text", "html").order_by("-id")
    return Page(list(emails), next_after)


def _newest_ids(conditions: "Sequence[_Condition]", *, after: UUID | None, limit: int) -> tuple[list[UUID], UUID | None]:
    """Return the ids of the newest emails that fulfill all conditions, and the last checked id if more rows could be checked.

    Reads the rows of one condition, newest first, and checks the other conditions for each row. With a join instead, SQLite,
    which has no statistics, and PostgreSQL, which has estimates, may start with a condition that a million emails fulfill.
    """
    indexed = [each for each in conditions if each.has_index]
    first = indexed[0] if len(indexed) == 1 else min(indexed, key=lambda each: _limited_count(each.before(after)))
    rows = first.before(after)
    if len(conditions) == 1:
        return list(first.ids(rows)[:limit]), None
    for count in (FIRST_CHECKED_ROWS, MAX_CHECKED_ROWS):
        last_checked = first.ids(rows)[count - 1 : count].first()
        checked = rows if last_checked is None else rows.filter(**{f"{first.id_field}__gte": last_checked})
        for condition in conditions:
            checked = checked if condition is first else condition.restrict(checked, first.id_field)
        ids = list(first.ids(checked)[:limit])
        if len(ids) == limit or last_checked is None:
            break
    return ids, last_checked


def _limited_count(rows: QuerySet[Any]) -> int:
    return rows[:MAX_COUNTED_ROWS].count()


def list_email_events(email_id: UUID, *, principal: Principal) -> list[Event]:
    """Return the events of an email that the principal may see, oldest first. Raises `EmailNotFound`."""
    return list(get_email(email_id, principal=principal).events.order_by("id"))
