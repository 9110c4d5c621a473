"""Maximum age of an email, and repair of due times that a wrong clock has set.

An email that could not be sent within MAX_EMAIL_AGE fails, because it would arrive too late to be useful. The age counts from the
time when the email was first due, or from its last retry by a caller.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from project.bridge.database.bulk_update import bulk_update
from project.delivery.decision import overall_status, recipient_result
from project.delivery.fair_order import skip_locked
from project.delivery.retry_policy import JITTER
from project.emails.failure_reason import failure_reason
from project.emails.models import Email
from project.emails.status import WAITING_UNTIL_DUE, Status
from project.events.log import append_events, build_event, wake_worker_on_commit
from project.events.models import NewEvent
from project.transports.smtp.replies import MAX_REQUESTED_DELAY, Reply

BATCH_SIZE = 500  # emails looked at, and at most changed, in one transaction
TOO_OLD = "The email was not sent within its maximum age (MAX_EMAIL_AGE)"


def give_up_at(email: Email) -> datetime:
    """Return when an email that is not sent yet fails."""
    return email.due_since + settings.MAX_EMAIL_AGE


def expire_emails(*, now: datetime) -> int:
    """Fail the oldest due emails that are past their maximum age. Return how many, at most about `BATCH_SIZE`.

    Looks only at the beginning of two indexes, where the oldest emails are. The few old emails that are elsewhere fail when they
    are claimed.
    """
    waiting = Email.objects.filter(status__in=WAITING_UNTIL_DUE, next_attempt_at__lte=now).order_by("next_attempt_at")
    ids = _expired_ids(Email.objects.filter(status=Status.QUEUED).order_by("id"), now) or _expired_ids(waiting, now)
    expired = Email.objects.filter(id__in=ids, status__in=(Status.QUEUED, *WAITING_UNTIL_DUE)).order_by("id")
    emails = list(skip_locked(expired).defer("text", "html"))
    append_events(fail_expired(emails, now=now))
    return len(emails)


def fail_expired(emails: Sequence[Email], *, now: datetime) -> list[NewEvent]:
    """Give their final status to those of the emails that are past their maximum age. Return the events to append."""
    latest = now - settings.MAX_EMAIL_AGE
    expired = [email for email in emails if email.created_at <= latest and now >= give_up_at(email)]
    pending = {email.id: email.pending_recipients for email in expired}
    for email in expired:
        _fail(email, now)
    fields = ["status", "reason", "attempts", "last_error", "recipient_results", "next_attempt_at"]
    bulk_update(expired, [*fields, "claimed_by", "lease_expires_at"])
    return [
        build_event(email, now=now, result=Status.FAILED, recipients=pending[email.id], response=TOO_OLD) for email in expired
    ]


def repair_due_times(*, now: datetime) -> int:
    """Make delayed emails due that wait longer than the retry delays explain. Return how many, at most `BATCH_SIZE`.

    If the clock was ahead when an attempt failed, and was set back, the next attempt is too far in the future.
    """
    delayed = Email.objects.filter(status=Status.DELAYED, next_attempt_at__gt=now + min(_longest_waits(), default=timedelta()))
    waiting = skip_locked(delayed.order_by("-next_attempt_at")).only("attempts", "next_attempt_at", "last_error")[:BATCH_SIZE]
    ids = [email.id for email in waiting if email.next_attempt_at and email.next_attempt_at > now + _longest_wait(email)]
    if ids:
        Email.objects.filter(id__in=ids).update(next_attempt_at=now)
        wake_worker_on_commit()
    return len(ids)


def _longest_waits() -> list[timedelta]:
    return [delay * (1 + JITTER) for delay in settings.RETRY_DELAYS]


def _longest_wait(email: Email) -> timedelta:
    """Return how long an email may wait after its last attempt."""
    if any(Reply(0, error).requested_delay for error in email.last_error.split("; ")):
        return max(MAX_REQUESTED_DELAY, *_longest_waits())
    waits = _longest_waits()
    return waits[min(email.attempts, len(waits)) - 1] if waits else timedelta()


def _expired_ids(emails: QuerySet[Email], now: datetime) -> list[UUID]:
    oldest = emails.only("id", "created_at", "scheduled_at", "retried_at")[:BATCH_SIZE]
    return [email.id for email in oldest if now >= give_up_at(email)]


def _fail(email: Email, now: datetime) -> None:
    """Give an email its final status: `sent` if it was sent to some of its recipients, otherwise `failed`."""
    if email.status == Status.SENDING:
        email.attempts -= 1  # the attempt that the claim counted does not take place
    email.last_error = f"{TOO_OLD}. Last error: {email.last_error}" if email.last_error else TOO_OLD
    email.recipient_results |= dict.fromkeys(email.pending_recipients, recipient_result(Status.FAILED, at=now))
    email.status, email.reason = overall_status(email.recipient_results), failure_reason(TOO_OLD)
    email.next_attempt_at, email.claimed_by, email.lease_expires_at = None, "", None
