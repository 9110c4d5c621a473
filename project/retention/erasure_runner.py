"""Runs erasures of persons in the background: see project.admin.background_jobs."""

from dataclasses import asdict
from datetime import datetime

from project.accounts.models import User
from project.admin.background_jobs import BackgroundJobRunner, lock_oldest
from project.audit.actor import Actor, acting_as
from project.audit.models import AuditAction
from project.audit.store import record_change
from project.bridge.database.transactions import call_in_transaction
from project.bridge.notifications.local import LocalSignal
from project.emails.models import BulkState
from project.retention.erasure import erase_batch, erase_rest, find
from project.retention.models import PersonErasure

PERMISSION = "retention.add_personerasure"
MAX_COUNTED_EMAILS = 10_000  # for one address, before the erasure
erasure_started = LocalSignal[[]]()  # wakes the runner of this process


def create_erasure_runner() -> BackgroundJobRunner:
    """Return the runner of the application."""
    return BackgroundJobRunner("An erasure", run_round, fail_oldest, erasure_started)


def start_erasure(user: User, addresses: list[str], *, with_suppression: bool) -> PersonErasure:
    """Start the erasure of normalized addresses in the background."""
    matched = sum(find(address, max_emails=MAX_COUNTED_EMAILS).emails for address in addresses)
    job: PersonErasure = call_in_transaction(
        PersonErasure.objects.create,
        user=user,
        addresses=addresses,
        persons=len(addresses),
        with_suppression=with_suppression,
        matched=matched,
    )
    erasure_started.send()
    return job


def stop_erasure(job_id: int, *, now: datetime) -> None:
    """End a running erasure, in the caller's transaction. Rows that were erased before stay erased."""
    running = PersonErasure.objects.select_for_update(of=("self",)).filter(pk=job_id, state=BulkState.RUNNING)
    if (job := running.select_related("user").first()) is not None:
        end_erasure(job, BulkState.STOPPED, now)


def run_round(*, now: datetime) -> bool:
    """Erase the next emails of the oldest running erasure. Return whether there was a running erasure."""
    job = _lock_oldest()
    if job is None:
        return False
    if not (job.user.is_active and job.user.has_perm(PERMISSION)):
        end_erasure(job, BulkState.FAILED, now, error=f"{job.user} no longer has the permission.")
    elif job.addresses:
        _erase_next(job)
    else:
        end_erasure(job, BulkState.FINISHED, now)
    return True


def fail_oldest(error: str, *, now: datetime) -> None:
    """End the oldest running erasure, because its round raised an error."""
    if (job := _lock_oldest()) is not None:
        end_erasure(job, BulkState.FAILED, now, error=error)


def end_erasure(job: PersonErasure, state: BulkState, now: datetime, *, error: str = "") -> None:
    """Store how the erasure ended, without the addresses, and record it in the audit trail."""
    job.state, job.finished_at, job.error, job.addresses, job.last = state, now, error, [], None
    job.save(update_fields=["state", "finished_at", "error", "addresses", "last"])
    with acting_as(Actor(job.user.get_username(), "session")):
        record_change(AuditAction.PERSON_ERASED, f"{job.deleted + job.anonymized} emails, addresses: {job.persons} ({state})")


def _erase_next(job: PersonErasure) -> None:
    address, done = job.addresses[0], job.done
    job.last = erase_batch(address, job.last, done)
    if job.last is None:
        erase_rest(address, done, with_suppression=job.with_suppression)
        job.addresses = job.addresses[1:]
    for name, number in asdict(done).items():
        setattr(job, name, number)
    job.save(update_fields=["addresses", "last", *asdict(done)])


def _lock_oldest() -> PersonErasure | None:
    return lock_oldest(PersonErasure.objects.filter(state=BulkState.RUNNING))
