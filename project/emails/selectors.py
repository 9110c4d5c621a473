"""Queries of emails, limited to the emails that a principal may see or change."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce

from project.auth.principal import Principal
from project.emails.models import Email
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
class EmailFilter:
    """Filter of a list of emails. `to` is a recipient's address, `tag` a pair of key and value, `reason` a normalized reason."""

    status: str | None = None
    to: str | None = None
    tag: tuple[str, ...] | None = None
    reason: str | None = None

    @property
    def is_narrow(self) -> bool:
        """Return whether the filter selects few emails and has an index that does not begin with the owner."""
        return self.reason is None and self._is_narrow

    @property
    def _is_narrow(self) -> bool:
        return self.to is not None or self.tag is not None or self.status in NOT_SENT

    def newest(self) -> QuerySet[Email]:
        """Return the selected emails, newest first, ordered by a column of the index that finds them."""
        emails, order = Email.objects.all(), "-id"
        if self.status is not None:
            emails = emails.filter(status=self.status)
        if self.reason is not None:
            emails = emails.filter(reason=self.reason)
        if self.tag is not None:
            key, value = self.tag
            emails, order = emails.filter(tag__key=key, tag__value=value), "-tag__email_id"
        if self.to is not None:
            emails, order = emails.filter(recipient__address=self.to), "-recipient__email_id"
        return emails.order_by(order)


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
    emails = filters.newest()
    if not principal.can_view_all and filters.is_narrow:
        # COALESCE keeps the query planner from using the owner index. Without statistics, the planner would choose that index,
        # and read a million of the owner's emails to find a few.
        emails = emails.alias(unindexed_owner=Coalesce("owner", Value(""))).filter(unindexed_owner=principal.owner_id)
    elif not principal.can_view_all:
        emails = emails.filter(owner=principal.owner_id)
    emails = _with_template(emails).defer("text", "html")
    if page.after is not None:
        emails = emails.filter(id__lt=page.after)
    return list(emails[: page.limit + 1])


def list_email_events(email_id: UUID, *, principal: Principal) -> list[Event]:
    """Return the events of an email that the principal may see, oldest first. Raises `EmailNotFound`."""
    return list(get_email(email_id, principal=principal).events.order_by("id"))
