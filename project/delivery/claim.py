"""Claims: atomic leases on rows, so that no two workers send the same email (django-post_office#248, #326).

Delivery is at-least-once: the lease of a worker that dies expires, and another worker sends the email again.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Length

from project.bridge.database.bulk_update import bulk_update
from project.delivery.decision import overall_status, recipient_result
from project.delivery.expiry import fail_expired
from project.delivery.models import RelayOutage
from project.emails.failure_reason import SUPPRESSED
from project.emails.models import Email
from project.emails.status import WAITING_UNTIL_DUE, Status
from project.events.log import append_events, build_event, record_status_events
from project.events.models import NewEvent
from project.suppressions.store import find_suppressed

LEASE = timedelta(minutes=5)  # live workers renew their leases; on other machines, this is the only sign of a live worker
# The fields that sending needs. Loading the other fields too would take about half the time of a claim.
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
    "last_error",
    "created_at",
    "scheduled_at",
    "retried_at",
    "reason",
    "sent_at",
    "next_attempt_at",
    "lease_expires_at",
    "claimed_by",
)
# The fields that skipping recipients changes.
SKIPPED_FIELDS = (
    *("status", "attempts", "recipient_results", "reason", "sent_at"),
    *("claimed_by", "lease_expires_at", "next_attempt_at"),
)
# How long an outage row is kept after its next probe was due. By then, a live worker has probed the relay again,
# even if the probe took ten minutes to time out.
OUTAGE_RETENTION = timedelta(minutes=15)
MAX_FINISHED_EMAILS = 200  # suppressed emails that get their final status together, beyond those of the claim itself
MAX_CLAIMED_BYTES = 32 * 1024 * 1024  # approximate limit for one claim, because each of a hundred emails may have 15 MiB


def claim_emails(worker: str, *, limit: int, now: datetime) -> list[Email]:
    """Claim up to `limit` due emails for `worker`, the oldest first, and count an attempt for each email.

    Suppressed recipients are skipped. An email without any other recipients gets its final status here and is not returned.
    The list may be empty although other emails are due (see `has_due_emails`), because the work of one transaction is limited.
    """
    ids = _due_ids(limit, now)
    emails = _claim(ids, worker, now) if ids else []
    if ids and not emails:  # there may be thousands of suppressed emails in front of the next email to send
        _finish_suppressed(now)
    return emails


def has_due_emails(*, now: datetime) -> bool:
    """Return whether an email is due that no other transaction has locked."""
    return bool(_due_ids(1, now))


def renew_leases(worker: str, email_ids: Collection[UUID], *, now: datetime) -> int:
    """Extend the leases of the emails that `worker` still has in flight. Return how many were extended.

    An email whose result could not be stored is no longer in flight, so its lease expires.
    """
    claimed = Email.objects.filter(id__in=email_ids, status=Status.SENDING, claimed_by=worker)
    return claimed.update(lease_expires_at=now + LEASE)


def requeue_abandoned(dead_workers: Iterable[str], *, live: Iterable[str] = (), now: datetime) -> int:
    """Requeue emails that are claimed by dead workers or whose lease has expired. Return how many were requeued.

    Expired leases of workers known to be `live` are ignored, because all leases expire at once when the clock is set forward.
    """
    dead = list(dead_workers)
    abandoned = Q(claimed_by__in=dead) | (Q(lease_expires_at__lt=now) & ~Q(claimed_by__in=list(live)))
    ids = list(_skip_locked(Email.objects.filter(abandoned, status=Status.SENDING).order_by()).values_list("id", flat=True))
    Email.objects.filter(id__in=ids).update(status=Status.QUEUED, claimed_by="", lease_expires_at=None)
    record_status_events(Email.objects.filter(id__in=ids), now=now)
    RelayOutage.objects.filter(Q(worker__in=dead) | Q(next_probe_at__lt=now - OUTAGE_RETENTION)).delete()
    return len(ids)


def release_claims(emails: Sequence[Email], *, now: datetime) -> None:
    """Requeue emails that one worker claimed but did not start to send. The attempt does not count."""
    claimed = Email.objects.select_for_update().filter(status=Status.SENDING, claimed_by=emails[0].claimed_by).order_by("id")
    ids = list(claimed.filter(id__in=[email.id for email in emails]).values_list("id", flat=True))
    Email.objects.filter(id__in=ids).update(
        status=Status.QUEUED, attempts=F("attempts") - 1, claimed_by="", lease_expires_at=None
    )
    record_status_events(Email.objects.filter(id__in=ids), now=now)


def next_due_at() -> datetime | None:
    """Return when the next scheduled or delayed email is due, or None if there is no such email."""
    waiting = Email.objects.filter(status__in=WAITING_UNTIL_DUE, next_attempt_at__isnull=False).order_by("next_attempt_at")
    return waiting.values_list("next_attempt_at", flat=True).first()


def _due_ids(limit: int, now: datetime) -> list[UUID]:
    """Return the ids of scheduled and delayed emails that are due, then of queued emails.

    Runs two queries, because each of the two uses an index. A single query with `OR` would use neither index.
    """
    waited = Email.objects.filter(status__in=WAITING_UNTIL_DUE, next_attempt_at__lte=now).order_by("next_attempt_at")
    queued = Email.objects.filter(status=Status.QUEUED).order_by("id")
    due = _ids_and_sizes(waited, limit)
    due += _ids_and_sizes(queued, limit - len(due))
    ids: list[UUID] = []
    total_bytes = 0
    for email_id, size in due:
        total_bytes += size
        if ids and total_bytes > MAX_CLAIMED_BYTES:
            break
        ids.append(email_id)
    return ids


def _ids_and_sizes(emails: QuerySet[Email], limit: int) -> list[tuple[UUID, int]]:
    return list(_skip_locked(emails).values_list("id", Length("raw_message__content"))[:limit])


def _skip_locked(emails: QuerySet[Email]) -> QuerySet[Email]:
    """Lock the rows, and skip rows locked by other transactions. On SQLite, BEGIN IMMEDIATE already excludes other writers."""
    if connection.features.has_select_for_update_skip_locked:
        return emails.select_for_update(skip_locked=True, of=("self",))
    return emails


def _claim(ids: Sequence[UUID], worker: str, now: datetime) -> list[Email]:
    claim = {"status": Status.SENDING, "claimed_by": worker, "lease_expires_at": now + LEASE, "next_attempt_at": None}
    Email.objects.filter(id__in=ids).update(attempts=F("attempts") + 1, **claim)
    emails = list(
        Email.objects.filter(id__in=ids)
        .select_related("raw_message")
        .only(*CLAIMED_FIELDS, "raw_message__content")
        .order_by("id")
    )
    events = fail_expired(emails, now=now)
    emails = [email for email in emails if email.status == Status.SENDING]
    events += _skip_suppressed(emails, now)
    emails = [email for email in emails if email.status == Status.SENDING]
    append_events([*events, *(build_event(email, now=now) for email in emails)])
    return emails


def _finish_suppressed(now: datetime) -> None:
    """Give their final status to those of the next due emails that have no recipients left to send to."""
    emails = Email.objects.filter(id__in=_due_ids(MAX_FINISHED_EMAILS, now)).only(*CLAIMED_FIELDS).order_by("id")
    suppressed = find_suppressed({address for email in emails for address in email.pending_recipients})
    finished = [email for email in emails if suppressed.issuperset(email.pending_recipients)]
    for email in finished:  # as if they were claimed
        email.status, email.attempts, email.next_attempt_at = Status.SENDING, email.attempts + 1, None
    append_events(_skip_suppressed(finished, now))


def _skip_suppressed(emails: Sequence[Email], now: datetime) -> list[NewEvent]:
    """Mark suppressed recipients, and finish emails that have no other recipients. Return the events to append."""
    suppressed = find_suppressed({address for email in emails for address in email.recipients})
    events, changed = [], []
    for email in emails:
        if skipped := [address for address in email.pending_recipients if address in suppressed]:
            events.extend(_skip_recipients(email, skipped, now))
            changed.append(email)
    bulk_update(changed, SKIPPED_FIELDS)
    return events


def _skip_recipients(email: Email, addresses: list[str], now: datetime) -> list[NewEvent]:
    email.recipient_results |= dict.fromkeys(addresses, recipient_result(Status.SUPPRESSED, at=now))
    if len(email.recipient_results) == len(email.recipients):  # no recipients left to send to
        email.status, email.attempts = overall_status(email.recipient_results), email.attempts - 1
        email.claimed_by, email.lease_expires_at = "", None
        email.sent_at = email.sent_at or (now if email.status == Status.SENT else None)
        if email.status == Status.SUPPRESSED:
            email.reason = SUPPRESSED
    # The results of the other recipients had their own events when they became known.
    return [build_event(email, now=now, result=Status.SUPPRESSED, recipients=addresses, extra={"suppressed": addresses})]
