"""Who sends what: an atomic claim of rows, so that no mail is in two hands at once (django-post_office#248, #326)."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Length

from project.delivery.decision import overall_status, recipient_result, reply_for_status
from project.delivery.models import RelayOutage
from project.emails.models import Email
from project.emails.status import WAITING_UNTIL_DUE, Status
from project.events.log import append_events, build_event, record_status_events
from project.events.models import NewEvent
from project.suppressions.store import find_suppressed

LEASE = timedelta(minutes=5)  # an engine that is alive renews it; of one on another machine, nothing else is known
# What those who send use of a mail: to read the rest takes as long as half the claim.
CLAIMED_FIELDS = (
    "id",
    "owner",
    "status",
    "sender",
    "recipients",
    "subject",
    "text",
    "tags",
    "attempts",
    "recipient_results",
    "claimed_by",
)
# After its end, by which an engine that lives has tried its relay again: a relay may take ten minutes to time out.
OUTAGE_RETENTION = timedelta(minutes=15)
MAX_CLAIMED_BYTES = 32 * 1024 * 1024  # of mail in hand, more or less: a hundred mails may each be 15 MiB


def claim_emails(worker: str, *, limit: int, now: datetime) -> list[Email]:
    """Take up to `limit` queued mails, the oldest first, for `engine`. They count as one more attempt from here on.

    Leased, not finished: if the engine dies, another sends them again. Two mails are better than none. Recipients that are
    suppressed are left out, and a mail that has no others is not among those given. None are given only if none are due.
    """
    while ids := _due_ids(limit, now):
        if emails := _claim(ids, worker, now):
            return emails
    return []


def renew_leases(worker: str, held: Collection[UUID], *, now: datetime) -> int:
    """Say that `engine` is alive, and still has these mails in hand. Gives how many it has.

    One whose outcome it could not write down is not among them: its lease runs out.
    """
    mine = Email.objects.filter(id__in=held, status=Status.SENDING, claimed_by=worker)
    return mine.update(lease_expires_at=now + LEASE)


def requeue_abandoned(dead_workers: Iterable[str], *, live: Iterable[str] = (), now: datetime) -> int:
    """Put back what dead engines had in hand, and what was held beyond its lease. Gives how many.

    A lease says nothing of engines that are known to be `living`: it runs out at once when the clock is set forward.
    """
    dead = list(dead_workers)
    abandoned = Q(claimed_by__in=dead) | (Q(lease_expires_at__lt=now) & ~Q(claimed_by__in=list(live)))
    ids = list(_lock_unclaimed(Email.objects.filter(abandoned, status=Status.SENDING).order_by()).values_list("id", flat=True))
    Email.objects.filter(id__in=ids).update(status=Status.QUEUED, claimed_by="", lease_expires_at=None)
    record_status_events(Email.objects.filter(id__in=ids), now=now)
    RelayOutage.objects.filter(Q(worker__in=dead) | Q(next_probe_at__lt=now - OUTAGE_RETENTION)).delete()
    return len(ids)


def release_claims(emails: Sequence[Email], *, now: datetime) -> None:
    """Put back what an engine claimed and did not begin. It was no attempt."""
    held = Email.objects.select_for_update().filter(status=Status.SENDING, claimed_by=emails[0].claimed_by).order_by("id")
    ids = list(held.filter(id__in=[email.id for email in emails]).values_list("id", flat=True))
    Email.objects.filter(id__in=ids).update(
        status=Status.QUEUED, attempts=F("attempts") - 1, claimed_by="", lease_expires_at=None
    )
    record_status_events(Email.objects.filter(id__in=ids), now=now)


def _due_ids(limit: int, now: datetime) -> list[UUID]:
    """What waited for its time, then what is queued: two queries, since each has its index, and `OR` would have none."""
    waited = Email.objects.filter(status__in=WAITING_UNTIL_DUE, next_attempt_at__lte=now).order_by("next_attempt_at")
    queued = Email.objects.filter(status=Status.QUEUED).order_by("id")
    found = _ids_and_sizes(waited, limit)
    found += _ids_and_sizes(queued, limit - len(found))
    ids: list[UUID] = []
    held = 0
    for email_id, size in found:
        held += size
        if ids and held > MAX_CLAIMED_BYTES:
            break
        ids.append(email_id)
    return ids


def _ids_and_sizes(emails: QuerySet[Email], limit: int) -> list[tuple[UUID, int]]:
    return list(_lock_unclaimed(emails).values_list("id", Length("raw_message__content"))[:limit])


def _lock_unclaimed(emails: QuerySet[Email]) -> QuerySet[Email]:
    """Locked, but for those that another transaction has. SQLite's, begun IMMEDIATE, holds all others off."""
    if connection.features.has_select_for_update_skip_locked:
        return emails.select_for_update(skip_locked=True, of=("self",))
    return emails


def _claim(ids: Sequence[UUID], worker: str, now: datetime) -> list[Email]:
    claimed = {"status": Status.SENDING, "claimed_by": worker, "lease_expires_at": now + LEASE, "next_attempt_at": None}
    Email.objects.filter(id__in=ids).update(attempts=F("attempts") + 1, **claimed)
    emails = list(
        Email.objects.filter(id__in=ids)
        .select_related("raw_message")
        .only(*CLAIMED_FIELDS, "raw_message__content")
        .order_by("id")
    )
    events = _skip_suppressed(emails, now)
    emails = [email for email in emails if email.status == Status.SENDING]
    append_events([*events, *(build_event(email, now=now) for email in emails)])
    return emails


def _skip_suppressed(emails: Sequence[Email], now: datetime) -> list[NewEvent]:
    """Settle those recipients, and the mails that have no others. Gives the events that say so."""
    suppressed = find_suppressed({address for email in emails for address in email.recipients})
    events = []
    for email in emails:
        if left_out := [
            address for address in email.recipients if address in suppressed and address not in email.recipient_results
        ]:
            events.extend(_skip_recipients(email, left_out, now))
    return events


def _skip_recipients(email: Email, addresses: list[str], now: datetime) -> list[NewEvent]:
    email.recipient_results |= dict.fromkeys(addresses, recipient_result(Status.SUPPRESSED))
    if len(email.recipient_results) == len(email.recipients):  # nobody is left to send to
        email.status, email.attempts = overall_status(email.recipient_results), email.attempts - 1
        email.claimed_by, email.lease_expires_at = "", None
        email.sent_at = now if email.status == Status.SENT else None
    email.save(update_fields=["recipient_results", "status", "attempts", "claimed_by", "lease_expires_at", "sent_at"])
    event = build_event(email, now=now, extra={"suppressed": addresses})
    event.type = f"email.{Status.SUPPRESSED}"
    others = email.status not in (Status.SENDING, Status.SUPPRESSED)  # some were sent to before
    reply = reply_for_status(Status(email.status), email.recipient_results)
    if not others:
        return [event]
    return [event, build_event(email, now=now, smtp_code=reply.code if reply else None, response=reply.text if reply else None)]


def next_due_at() -> datetime | None:
    """When the next mail that waits for its time is due."""
    waiting = Email.objects.filter(status__in=WAITING_UNTIL_DUE, next_attempt_at__isnull=False).order_by("next_attempt_at")
    return waiting.values_list("next_attempt_at", flat=True).first()
