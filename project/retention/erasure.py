"""Erasure of one person: what is stored about a recipient's address is deleted or replaced (GDPR, article 17).

An email to this person alone is deleted. In an email that others received too, a placeholder replaces the address, and the
message is deleted. The suppression of the address is kept, unless the caller asks otherwise, so that the person gets no
further email.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.utils import timezone

from project.audit.models import AuditAction
from project.audit.store import record_change
from project.bridge.database.transactions import call_in_transaction
from project.emails.mime.email_addresses import normalize_address
from project.emails.mime.headers import addr_spec
from project.emails.models import BulkAction, BulkState, Email, RawMessage, Recipient, SubjectWord
from project.emails.status import FINAL, Status
from project.emails.subject_words import split_words
from project.events.models import Event
from project.statistics.email_counts import subtract_emails
from project.suppressions.models import Suppression
from project.transports.models import MAX_TERM_LENGTH, MailboxMessage

BATCH_SIZE = 100  # emails of one transaction
LOGGED_APPS = ("emails", "suppressions", "transports")  # whose rows the admin's log may name by an address
MAX_LOGGED_LENGTH = 200  # of LogEntry.object_repr
PLACEHOLDER_DOMAIN = "erased.invalid"  # RFC 2606 reserves .invalid


@dataclass
class Erasure:
    """Numbers of the rows about an address, found or erased. `unfinished` emails stay, because they are still to be sent."""

    deleted: int = 0
    anonymized: int = 0
    unfinished: int = 0
    mailbox_messages: int = 0
    suppressions: int = 0

    @property
    def emails(self) -> int:
        """Return the number of emails."""
        return self.deleted + self.anonymized + self.unfinished

    @property
    def description(self) -> str:
        """Return the numbers of what is erased, for people."""
        numbers = {
            "email{} to the person alone": self.deleted,
            "email{} to others too": self.anonymized,
            "message{} in the mailbox": self.mailbox_messages,
            "suppression{}": self.suppressions,
        }
        return ", ".join(f"{number:,} {text.format('' if number == 1 else 's')}" for text, number in numbers.items())


def normalized(address: str) -> str:
    """Return the address in the form of stored recipients. Raises ValueError."""
    return normalize_address(address).lower()


def find(address: str, *, max_emails: int | None = None) -> Erasure:
    """Return what `erase` would do for a normalized address, without changing anything. At most `max_emails` are counted."""
    found = Erasure(mailbox_messages=_mailbox(address).count(), suppressions=_suppressions(address).count())
    for emails in _batches(address):
        if max_emails is not None and found.emails >= max_emails:
            break
        for email in emails:
            _count(found, _action_on(email, address))
    return found


def erase(address: str, *, with_suppression: bool = False, on_batch: Callable[[Erasure], object] = lambda _done: None) -> Erasure:
    """Erase a normalized address, batch by batch. Calls `on_batch` with the total after each batch. Can be repeated."""
    done, after = Erasure(), None
    while True:
        after = call_in_transaction(erase_batch, address, after, done)
        on_batch(done)
        if after is None:
            break
    call_in_transaction(_finish, address, done, with_suppression=with_suppression)
    return done


def _finish(address: str, done: Erasure, *, with_suppression: bool) -> None:
    erase_rest(address, done, with_suppression=with_suppression)
    record_change(AuditAction.PERSON_ERASED, f"{done.deleted + done.anonymized} emails")


def erase_batch(address: str, after: UUID | None, done: Erasure) -> UUID | None:
    """Erase the next batch of emails, in the caller's transaction. Return where the next batch begins, or None after the last."""
    ids = _ids(address, after)
    emails = Email.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk")
    deleted = []
    for email in emails:
        action = _action_on(email, address)
        _count(done, action)
        if action == "deleted":
            deleted.append(email.pk)
        elif action == "anonymized":
            _anonymize(email, address)
    subtract_emails(deleted, now=timezone.now())
    Email.objects.filter(pk__in=deleted).delete()
    return ids[-1] if len(ids) == BATCH_SIZE else None


def erase_rest(address: str, done: Erasure, *, with_suppression: bool) -> None:
    """Erase everything but emails, in the caller's transaction."""
    messages = _mailbox(address)
    done.mailbox_messages += messages.count()
    messages.delete()
    if with_suppression:
        done.suppressions += _suppressions(address).delete()[0]
    _erase_admin_traces(address)


def _erase_admin_traces(address: str) -> None:
    """Replace the address in the admin's log of emails and suppressions, and in the filters of ended bulk actions."""
    placeholder = f"recipient@{PLACEHOLDER_DOMAIN}"
    logged = LogEntry.objects.filter(content_type__app_label__in=LOGGED_APPS, object_repr__icontains=address)
    for entry in logged.iterator(chunk_size=BATCH_SIZE):
        entry.object_repr = _replaced(entry.object_repr, address, placeholder)[:MAX_LOGGED_LENGTH]
        entry.object_id = _replaced(entry.object_id, address, placeholder)
        entry.save(update_fields=["object_repr", "object_id"])
    for query in {address, quote_plus(address)}:
        ended = BulkAction.objects.exclude(state=BulkState.RUNNING).filter(filters__icontains=query)
        ended.update(filters=f"q={quote_plus(placeholder)}")


def _action_on(email: Email, address: str) -> str:
    is_alone = {each.lower() for each in email.recipients} == {address}
    if email.status == Status.SENDING or (email.status not in FINAL and not is_alone):
        return "unfinished"
    return "deleted" if is_alone else "anonymized"


def _count(erasure: Erasure, action: str) -> None:
    setattr(erasure, action, getattr(erasure, action) + 1)


def _anonymize(email: Email, address: str) -> None:
    """Replace the address in an email's row and in its events, and delete its message."""
    placeholder = f"recipient-{[each.lower() for each in email.recipients].index(address) + 1}@{PLACEHOLDER_DOMAIN}"
    for field in ("to", "cc", "bcc", "reply_to"):
        setattr(email, field, [placeholder if _is(each, address) else each for each in getattr(email, field)])
    email.recipients = _replaced(email.recipients, address, placeholder)
    email.recipient_results = _replaced(email.recipient_results, address, placeholder)
    email.last_error = _replaced(email.last_error, address, placeholder)
    if (subject := _replaced(email.subject, address, placeholder)) != email.subject:
        email.subject = subject
        SubjectWord.objects.filter(email=email).delete()
        SubjectWord.objects.bulk_create(SubjectWord(word=word, email=email) for word in split_words(subject))
    email.text = email.html = ""
    email.save()
    RawMessage.objects.filter(email=email).delete()
    Recipient.objects.filter(email=email, address=address).delete()
    for event in Event.objects.filter(email=email):
        event.data, event.smtp_transcript = _replaced(event.data, address, placeholder), ""
        event.save()


def _is(mailbox: str, address: str) -> bool:
    return addr_spec(mailbox).lower() == address


def _replaced(value: Any, address: str, placeholder: str) -> Any:
    """Return JSON data in which the placeholder replaces the address, in any case, also in names of fields."""
    if isinstance(value, dict):
        items = value.items()
        return {_replaced(name, address, placeholder): _replaced(each, address, placeholder) for name, each in items}
    if isinstance(value, list):
        return [_replaced(each, address, placeholder) for each in value]
    return re.sub(_pattern(address), placeholder, value) if isinstance(value, str) else value


def _pattern(address: str) -> "re.Pattern[str]":
    return re.compile(rf"(?<![\w.+-]){re.escape(address)}(?![\w-]|\.\w)", re.IGNORECASE)


def _batches(address: str) -> Iterator[Sequence[Email]]:
    after = None
    while ids := _ids(address, after):
        yield list(Email.objects.filter(pk__in=ids).only("status", "recipients"))
        after = ids[-1]


def _ids(address: str, after: UUID | None) -> list[UUID]:
    rows = Recipient.objects.filter(address=address).order_by("email_id")
    rows = rows if after is None else rows.filter(email_id__gt=after)
    return list(rows.values_list("email_id", flat=True)[:BATCH_SIZE])


def _mailbox(address: str) -> Any:
    return MailboxMessage.objects.filter(mailboxterm__term=f"@{address}"[:MAX_TERM_LENGTH])


def _suppressions(address: str) -> Any:
    return Suppression.objects.filter(address=address)
