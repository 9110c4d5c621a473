"""Takes over the emails of workers that died, stopped or lost track of an email."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from django.db.models import F, Q

from project.delivery.crashes import CRASH_ERROR, TOO_MANY_CRASHES_ERROR, next_attempt_after_crash
from project.delivery.decision import overall_status, recipient_result
from project.delivery.fair_order import skip_locked
from project.delivery.heartbeat import SilenceObserver, WorkerActivity, remove_heartbeats
from project.delivery.lease import LeaseTiming
from project.delivery.models import RelayOutage
from project.emails.failure_reason import failure_reason
from project.emails.models import Email
from project.emails.status import Status
from project.events.log import append_events, build_event
from project.events.models import NewEvent

MAX_REQUEUED = 500  # emails in one transaction; the next sweep continues
# How long an outage row is kept after its next probe was due. By then, a live worker has probed the relay again,
# even if the probe took ten minutes to time out.
OUTAGE_RETENTION = timedelta(minutes=15)
NOT_KNOWN: Mapping[str, Collection[UUID]] = {}
REQUEUED_FIELDS = (
    "id", "owner", "status", "recipients", "subject", "tags", "attempts", "recipient_results", "claimed_by", "crashes",
    "scheduled_at",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Which workers lose claims: workers in `ended` lose all of them, and workers in `silent` those whose lease has expired."""

    ended: Collection[str] = ()
    silent: Collection[str] = ()
    is_final: bool = True  # False if a worker with an expired lease has not been observed for long enough

    @property
    def workers(self) -> Iterable[str]:
        """Return all workers that lose claims."""
        return (*self.ended, *self.silent)


def judge(
    activity: Mapping[str, WorkerActivity],
    observer: SilenceObserver,
    *,
    dead: Collection[str],
    timing: LeaseTiming,
    now: datetime,
) -> Verdict:
    """Decide which workers lose claims. `dead` contains the workers whose liveness locks are free.

    An expired lease alone proves nothing, because setting the clock forward lets all leases expire at once. So a worker must
    also have been silent, by the observer's own clock.
    """
    gone = [name for name in activity if observer.silent_seconds(name) >= timing.duration.total_seconds()]
    ended = {*dead, *gone}
    silent = {name for name in activity if observer.silent_seconds(name) >= timing.silence_seconds} - ended
    undecided = activity.keys() - ended - silent
    has_expired = any(lease is not None and lease < now for lease in (activity[name].earliest_lease for name in undecided))
    return Verdict(ended, silent, is_final=not has_expired)


def requeue_abandoned(verdict: Verdict, *, now: datetime, sending: Mapping[str, Collection[UUID]] = NOT_KNOWN) -> int:
    """Put emails of the verdict's workers back in the queue. Return how many; `MAX_REQUEUED` means there may be more.

    `sending` contains, for the workers of this machine, the emails that a worker was sending. Its other emails had only been
    claimed, so they cannot have caused a crash. If a worker is missing, each of its emails may have caused the crash.
    """
    abandoned = Q(claimed_by__in=verdict.ended) | Q(claimed_by__in=verdict.silent, lease_expires_at__lt=now)
    found = skip_locked(Email.objects.filter(abandoned, status=Status.SENDING).order_by("id"))
    emails = list(found.only(*REQUEUED_FIELDS)[:MAX_REQUEUED])
    blamed = [email for email in emails if email.id in sending.get(email.claimed_by, [email.id])]
    blamed_ids = {email.id for email in blamed}
    innocent = [email for email in emails if email.id not in blamed_ids]
    _requeue(innocent)
    events = [build_event(email, now=now) for email in innocent]
    for crashes, group in groupby(sorted(blamed, key=_crashes), key=_crashes):
        events += _record_crash(list(group), crashes + 1, now)
    append_events(events)
    if len(emails) < MAX_REQUEUED:
        remove_heartbeats(verdict.ended)
    RelayOutage.objects.filter(Q(worker__in=verdict.ended) | Q(next_probe_at__lt=now - OUTAGE_RETENTION)).delete()
    return len(emails)


def _crashes(email: Email) -> int:
    return email.crashes or 0


def _requeue(emails: Collection[Email]) -> None:
    """Queue emails at once. The attempt does not count."""
    _update(emails, Status.QUEUED)


def _record_crash(emails: Collection[Email], crashes: int, now: datetime) -> list[NewEvent]:
    """Delay emails after a crash, or let them fail after too many. Return the events to append."""
    next_attempt_at = next_attempt_after_crash(crashes, now=now)
    if next_attempt_at is not None:
        _update(emails, Status.DELAYED, crashes=crashes, next_attempt_at=next_attempt_at, **_failure(CRASH_ERROR))
        return [build_event(email, now=now) for email in emails]
    pending = {email.id: email.pending_recipients for email in emails}
    _update(emails, Status.FAILED, crashes=crashes, **_failure(TOO_MANY_CRASHES_ERROR))
    for email in emails:
        if email.recipient_results:  # some recipients got the email, or were rejected, in an earlier attempt
            email.recipient_results |= dict.fromkeys(pending[email.id], recipient_result(Status.FAILED, at=now))
            email.status = overall_status(email.recipient_results)
            email.save(update_fields=["recipient_results", "status"])
    return [
        build_event(email, now=now, result=Status.FAILED, recipients=pending[email.id], response=TOO_MANY_CRASHES_ERROR)
        for email in emails
    ]


def _failure(error: str) -> dict[str, str]:
    return {"last_error": error, "reason": failure_reason(error)}


def _update(emails: Collection[Email], status: Status, **changes: object) -> None:
    found = Email.objects.filter(id__in=[email.id for email in emails])
    found.update(status=status, attempts=F("attempts") - 1, claimed_by="", lease_expires_at=None, **changes)
    for email in emails:
        email.status, email.attempts = status, email.attempts - 1
