"""Queries of emails, limited to the emails that a principal may see or change."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from project.auth.principal import Principal
from project.bridge.database.conditions import Condition, Range, ensure_index, find_page
from project.emails.indexes import NOT_NORMAL
from project.emails.models import Email, Recipient, Tag
from project.emails.priority import Priority
from project.emails.status import NOT_SENT
from project.errors import DomainError
from project.events.models import Event


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

    def conditions(self, owner: str | None) -> list[Condition]:
        """Return the conditions of this filter on the emails of one owner, or of all owners if it is None.

        The conditions on the emails of one owner include one with an index.
        """
        by_owner = {} if owner is None else {"owner": owner}
        emails = Email.objects.filter(**by_owner)
        conditions = []
        if self.tag is not None:
            key, value = self.tag
            conditions.append(Condition(Tag.objects.filter(key=key, value=value, **by_owner), "email_id"))
        if self.to is not None:
            conditions.append(Condition(Recipient.objects.filter(address=self.to.lower(), **by_owner), "email_id"))
        if self.reason is not None:
            conditions.append(Condition(emails.filter(reason=self.reason), "pk"))
        if self.priority is not None:
            is_rare = self.priority != Priority.NORMAL
            conditions.append(Condition(with_priority(emails, self.priority), "pk", has_index=is_rare))
        if self.status is not None:
            has_index = owner is not None or self.status in NOT_SENT
            conditions.append(Condition(emails.filter(status=self.status), "pk", has_index=has_index))
        return conditions if owner is None else ensure_index(conditions, emails)


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
    found = find_page(ensure_index(filters.conditions(owner), Email.objects.all()), request.limit + 1, Range(request.after))
    next_after = found.ids[request.limit - 1] if len(found.ids) > request.limit else found.last_checked
    emails = _with_template(Email.objects.filter(id__in=found.ids[: request.limit])).defer("text", "html").order_by("-id")
    return Page(list(emails), next_after)


def list_email_events(email_id: UUID, *, principal: Principal) -> list[Event]:
    """Return the events of an email that the principal may see, oldest first. Raises `EmailNotFound`."""
    return list(get_email(email_id, principal=principal).events.order_by("id"))
