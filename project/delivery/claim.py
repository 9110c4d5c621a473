"""Claims: atomic leases on rows, so that no two workers send the same email (django-post_office#248, #326).

Delivery is at-least-once: the lease of a worker that dies expires, and another worker sends the email again.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, QuerySet
from django.db.models.functions import Length

from project.bridge.database.bulk_update import bulk_update
from project.delivery.claimed_rows import CLAIMED_FIELDS, claim_rows, has_crashed_rows
from project.delivery.decision import overall_status, recipient_result
from project.delivery.expiry import fail_expired
from project.delivery.fair_order import ClaimOptions, select_due, skip_locked
from project.delivery.lease import LEASE
from project.delivery.owner_rotation import OwnerRotation
from project.delivery.priority_turns import PriorityTurns
from project.emails.failure_reason import SUPPRESSED
from project.emails.message_sizes import take_up_to
from project.emails.models import Email
from project.emails.status import WAITING_UNTIL_DUE, Status
from project.events.log import append_events, build_event, record_status_events
from project.events.models import NewEvent
from project.suppressions.store import find_suppressed

# The fields that skipping recipients changes.
SKIPPED_FIELDS = (
    *("status", "attempts", "recipient_results", "reason", "sent_at"),
    *("claimed_by", "lease_expires_at", "next_attempt_at"),
)
MAX_FINISHED_EMAILS = 200  # suppressed emails that get their final status together, beyond those of the claim itself
MAX_CLAIMED_BYTES = 32 * 1024 * 1024  # approximate limit for one claim, because each of a hundred emails may have 15 MiB


def claim_emails(
    worker: str, *, limit: int, now: datetime, lease: timedelta = LEASE, options: ClaimOptions | None = None
) -> list[Email]:
    """Claim up to `limit` due emails for `worker`, in a fair order, and count an attempt for each email.

    At most one of the worker's emails in flight is an email that workers crashed on, so that only this email is blamed for the
    next crash.

    Suppressed recipients are skipped. An email without any other recipients gets its final status here and is not returned.
    The list may be empty although other emails are due (see `has_due_emails`), because the work of one transaction is limited.
    """
    ids = _due_ids(worker, limit, now, options)
    emails = _claim(ids, worker, now, lease) if ids else []
    if ids and not emails:  # there may be thousands of suppressed emails in front of the next email to send
        _finish_suppressed(worker, now, options)
    return emails


def has_due_emails(worker: str, *, now: datetime, options: ClaimOptions | None = None) -> bool:
    """Return whether an email is due that `worker` may claim and no other transaction has locked."""
    looking = replace(options or ClaimOptions(), turns=PriorityTurns(), rotation=OwnerRotation())  # this takes no turn
    return bool(_due_ids(worker, 1, now, looking))


def renew_leases(worker: str, email_ids: Collection[UUID], *, now: datetime, lease: timedelta = LEASE) -> set[UUID]:
    """Extend the leases of the emails that `worker` has in flight. Return the ids of the emails that it still holds.

    An email whose result could not be stored is no longer in flight, so its lease expires.
    """
    claimed = Email.objects.filter(id__in=email_ids, status=Status.SENDING, claimed_by=worker)
    if claimed.update(lease_expires_at=now + lease) == len(email_ids):
        return set(email_ids)
    return set(claimed.values_list("id", flat=True))


def release_claims(worker: str, email_ids: Collection[UUID], *, now: datetime) -> None:
    """Requeue emails that a worker claimed and does not send, or no longer sends. The attempt does not count."""
    claimed = Email.objects.select_for_update().filter(status=Status.SENDING, claimed_by=worker).order_by("id")
    ids = list(claimed.filter(id__in=email_ids).values_list("id", flat=True))
    Email.objects.filter(id__in=ids).update(
        status=Status.QUEUED, attempts=F("attempts") - 1, claimed_by="", lease_expires_at=None
    )
    record_status_events(Email.objects.filter(id__in=ids), now=now)


def next_due_at() -> datetime | None:
    """Return when the next scheduled or delayed email is due, or None if there is no such email.

    Emails that workers crashed on are left out: they may have to wait for each other after they are due.
    """
    waiting = Email.objects.filter(status__in=WAITING_UNTIL_DUE, next_attempt_at__isnull=False, crashes=None)
    return waiting.order_by("next_attempt_at").values_list("next_attempt_at", flat=True).first()


def _due_ids(worker: str, limit: int, now: datetime, options: ClaimOptions | None) -> list[UUID]:
    """Return the ids of the next due emails, of a limited total size."""
    due = [
        *_crashed_before(worker, now),
        *((each.id, each.size) for each in select_due(limit, options or ClaimOptions(), now=now)),
    ][:limit]
    return take_up_to(MAX_CLAIMED_BYTES, due)


def _crashed_before(worker: str, now: datetime) -> list[tuple[UUID, int]]:
    """Return at most one due email that workers crashed on, and none while this worker has such an email in flight."""
    if not has_crashed_rows():
        return []
    crashed = Email.objects.filter(crashes__isnull=False)
    if crashed.filter(status=Status.SENDING, claimed_by=worker).exists():
        return []
    waited = crashed.filter(status=Status.DELAYED, next_attempt_at__lte=now).order_by("next_attempt_at")
    return _ids_and_sizes(waited, 1) or _ids_and_sizes(crashed.filter(status=Status.QUEUED).order_by("id"), 1)


def _ids_and_sizes(emails: QuerySet[Email], limit: int) -> list[tuple[UUID, int]]:
    return list(skip_locked(emails).values_list("id", Length("raw_message__content"))[:limit])


def _claim(ids: Sequence[UUID], worker: str, now: datetime, lease: timedelta) -> list[Email]:
    emails = claim_rows(ids, worker, lease_expires_at=now + lease)
    emails.sort(key=lambda email: email.crashes or 0)  # an email that may cause a crash is sent last
    events = fail_expired(emails, now=now)
    emails = [email for email in emails if email.status == Status.SENDING]
    events += _skip_suppressed(emails, now)
    emails = [email for email in emails if email.status == Status.SENDING]
    append_events([*events, *(build_event(email, now=now) for email in emails)])
    return emails


def _finish_suppressed(worker: str, now: datetime, options: ClaimOptions | None) -> None:
    """Give their final status to those of the next due emails that have no recipients left to send to."""
    emails = Email.objects.filter(id__in=_due_ids(worker, MAX_FINISHED_EMAILS, now, options)).only(*CLAIMED_FIELDS).order_by("id")
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
