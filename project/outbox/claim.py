"""Who sends what: an atomic claim of rows, so that no mail is in two hands at once (django-post_office#248, #326)."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Length

from project.outbox.events import event_of, record_events, write_events
from project.outbox.models import Email, NewEvent, Pause
from project.outbox.outcomes import end_of_all, said_at, settled_as
from project.outbox.states import WAITING_FOR_ITS_TIME, Status
from project.outbox.suppressions import suppressed_among

LEASE = timedelta(minutes=5)  # an engine that is alive renews it; of one on another machine, nothing else is known
# What those who send use of a mail: to read the rest takes as long as half the claim.
USED = ("id", "caller", "status", "sender", "recipients", "subject", "text", "tags", "attempts", "settled", "claimed_by")
# After its end, by which an engine that lives has tried its relay again: a relay may take ten minutes to time out.
PAUSE_KEPT = timedelta(minutes=15)
CLAIMED_BYTES = 32 * 1024 * 1024  # of mail in hand, more or less: a hundred mails may each be 15 MiB


def claim_emails(engine: str, *, limit: int, now: datetime) -> list[Email]:
    """Take up to `limit` queued mails, the oldest first, for `engine`. They count as one more attempt from here on.

    Leased, not finished: if the engine dies, another sends them again. Two mails are better than none. Recipients that are
    suppressed are left out, and a mail that has no others is not among those given. None are given only if none are due.
    """
    while ids := _due(limit, now):
        if emails := _claim(ids, engine, now):
            return emails
    return []


def renew_leases(engine: str, held: Collection[UUID], *, now: datetime) -> int:
    """Say that `engine` is alive, and still has these mails in hand. Gives how many it has.

    One whose outcome it could not write down is not among them: its lease runs out.
    """
    mine = Email.objects.filter(id__in=held, status=Status.SENDING, claimed_by=engine)
    return mine.update(lease_until=now + LEASE)


def requeue_abandoned(dead_engines: Iterable[str], *, living: Iterable[str] = (), now: datetime) -> int:
    """Put back what dead engines had in hand, and what was held beyond its lease. Gives how many.

    A lease says nothing of engines that are known to be `living`: it runs out at once when the clock is set forward.
    """
    dead = list(dead_engines)
    abandoned = Q(claimed_by__in=dead) | (Q(lease_until__lt=now) & ~Q(claimed_by__in=list(living)))
    ids = list(_not_in_use(Email.objects.filter(abandoned, status=Status.SENDING).order_by()).values_list("id", flat=True))
    Email.objects.filter(id__in=ids).update(status=Status.QUEUED, claimed_by="", lease_until=None)
    record_events(Email.objects.filter(id__in=ids), now=now)
    Pause.objects.filter(Q(engine__in=dead) | Q(until__lt=now - PAUSE_KEPT)).delete()
    return len(ids)


def give_back(emails: Sequence[Email], *, now: datetime) -> None:
    """Put back what an engine claimed and did not begin. It was no attempt."""
    held = Email.objects.select_for_update().filter(status=Status.SENDING, claimed_by=emails[0].claimed_by).order_by("id")
    ids = list(held.filter(id__in=[email.id for email in emails]).values_list("id", flat=True))
    Email.objects.filter(id__in=ids).update(status=Status.QUEUED, attempts=F("attempts") - 1, claimed_by="", lease_until=None)
    record_events(Email.objects.filter(id__in=ids), now=now)


def _due(limit: int, now: datetime) -> list[UUID]:
    """What waited for its time, then what is queued: two queries, since each has its index, and `OR` would have none."""
    waited = Email.objects.filter(status__in=WAITING_FOR_ITS_TIME, next_attempt_at__lte=now).order_by("next_attempt_at")
    queued = Email.objects.filter(status=Status.QUEUED).order_by("id")
    found = _sized(waited, limit)
    found += _sized(queued, limit - len(found))
    ids: list[UUID] = []
    held = 0
    for email_id, size in found:
        held += size
        if ids and held > CLAIMED_BYTES:
            break
        ids.append(email_id)
    return ids


def _sized(emails: QuerySet[Email], limit: int) -> list[tuple[UUID, int]]:
    return list(_not_in_use(emails).values_list("id", Length("source__content"))[:limit])


def _not_in_use(emails: QuerySet[Email]) -> QuerySet[Email]:
    """Locked, but for those that another transaction has. SQLite's, begun IMMEDIATE, holds all others off."""
    if connection.features.has_select_for_update_skip_locked:
        return emails.select_for_update(skip_locked=True, of=("self",))
    return emails


def _claim(ids: Sequence[UUID], engine: str, now: datetime) -> list[Email]:
    claimed = {"status": Status.SENDING, "claimed_by": engine, "lease_until": now + LEASE, "next_attempt_at": None}
    Email.objects.filter(id__in=ids).update(attempts=F("attempts") + 1, **claimed)
    emails = list(Email.objects.filter(id__in=ids).select_related("source").only(*USED, "source__content").order_by("id"))
    events = _leave_out_the_suppressed(emails, now)
    emails = [email for email in emails if email.status == Status.SENDING]
    write_events([*events, *(event_of(email, now=now) for email in emails)])
    return emails


def _leave_out_the_suppressed(emails: Sequence[Email], now: datetime) -> list[NewEvent]:
    """Settle those recipients, and the mails that have no others. Gives the events that say so."""
    suppressed = suppressed_among({address for email in emails for address in email.recipients})
    events = []
    for email in emails:
        if left_out := [address for address in email.recipients if address in suppressed and address not in email.settled]:
            events.extend(_leave_out(email, left_out, now))
    return events


def _leave_out(email: Email, addresses: list[str], now: datetime) -> list[NewEvent]:
    email.settled |= dict.fromkeys(addresses, settled_as(Status.SUPPRESSED))
    if len(email.settled) == len(email.recipients):  # nobody is left to send to
        email.status, email.attempts = end_of_all(email.settled), email.attempts - 1
        email.claimed_by, email.lease_until = "", None
        email.sent_at = now if email.status == Status.SENT else None
    email.save(update_fields=["settled", "status", "attempts", "claimed_by", "lease_until", "sent_at"])
    event = event_of(email, now=now, more={"suppressed": addresses})
    event.type = f"email.{Status.SUPPRESSED}"
    others = email.status not in (Status.SENDING, Status.SUPPRESSED)  # some were sent to before
    reply = said_at(Status(email.status), email.settled)
    return [event, event_of(email, now=now, reply=reply)] if others else [event]
