"""The named reads."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from project.accounts.principal import Principal
from project.errors import Refusal
from project.outbox.models import Email, Event
from project.outbox.states import WAITING_FOR_ITS_TIME


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

    def apply(self, emails: QuerySet[Email]) -> QuerySet[Email]:
        """Those of `emails` that are wanted."""
        if self.status is not None:
            emails = emails.filter(status=self.status)
        if self.to is not None:
            emails = emails.filter(recipient__address=self.to)
        if self.tag is not None:
            key, value = self.tag
            emails = emails.filter(tag__key=key, tag__value=value)
        return emails


def visible_to(caller: Principal) -> QuerySet[Email]:
    """What a caller may see: its own, and for signed-in staff all."""
    if caller.sees_all:
        return Email.objects.all()
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
    emails = _with_template(wanted.apply(visible_to(caller))).defer("text", "html").order_by("-id")
    if page.after is not None:
        emails = emails.filter(id__lt=page.after)
    return list(emails[: page.limit + 1])


def events_of(email_id: UUID, *, caller: Principal) -> list[Event]:
    """What happened to one of the caller's mails, oldest first. Raises `EmailNotFound`."""
    return list(get_email(email_id, caller=caller).events.order_by("id"))


def next_due() -> datetime | None:
    """When the next mail that waits for its time is due."""
    waiting = Email.objects.filter(status__in=WAITING_FOR_ITS_TIME).order_by("next_attempt_at")
    return waiting.values_list("next_attempt_at", flat=True).first()
