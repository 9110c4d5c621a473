"""The named reads."""

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
    """There is no such e-mail, or it is another's."""

    code = "email_not_found"


@dataclass(frozen=True)
class PageRequest:
    """Which of many. `after` is the id of the last one seen."""

    after: UUID | None = None
    limit: int = 20


@dataclass(frozen=True)
class EmailFilter:
    """Which of all. `to` is a recipient's address, `tag` a key and its value."""

    status: str | None = None
    to: str | None = None
    tag: tuple[str, ...] | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether few are wanted, which an index of their own has."""
        return self.to is not None or self.tag is not None or self.status in NOT_SENT

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


def visible_to(principal: Principal) -> QuerySet[Email]:
    """What a caller may see: its own, and for signed-in staff all."""
    return Email.objects.all() if principal.can_view_all else _owned_by(principal)


def changeable_by(principal: Principal) -> QuerySet[Email]:
    """What a caller may change: its own, and for staff who may change mails all."""
    return Email.objects.all() if principal.can_change_all else _owned_by(principal)


def _owned_by(principal: Principal) -> QuerySet[Email]:
    return Email.objects.filter(owner=principal.owner_id) if principal.owner_id else Email.objects.none()


def _with_template(emails: QuerySet[Email]) -> QuerySet[Email]:
    """With the name and version of what they were made from, and not its text."""
    return emails.select_related("template").defer("template__subject", "template__text", "template__html")


def get_email(email_id: UUID, *, principal: Principal) -> Email:
    """One of the caller's. Raises `EmailNotFound`."""
    email = _with_template(visible_to(principal)).filter(id=email_id).first()
    if email is None:
        raise EmailNotFound("There is no such e-mail.")
    return email


def list_emails(wanted: EmailFilter, page: PageRequest, *, principal: Principal) -> list[Email]:
    """The caller's, newest first: one more than the page holds, if there are more."""
    emails = wanted.newest()
    if not principal.can_view_all and wanted.is_narrow:
        # No index has this: else a planner without statistics takes the caller's, and reads a million to find a few.
        emails = emails.alias(whose=Coalesce("owner", Value(""))).filter(whose=principal.owner_id)
    elif not principal.can_view_all:
        emails = emails.filter(owner=principal.owner_id)
    emails = _with_template(emails).defer("text", "html")
    if page.after is not None:
        emails = emails.filter(id__lt=page.after)
    return list(emails[: page.limit + 1])


def list_email_events(email_id: UUID, *, principal: Principal) -> list[Event]:
    """What happened to one of the caller's mails, oldest first. Raises `EmailNotFound`."""
    return list(get_email(email_id, principal=principal).events.order_by("id"))
