"""Runs bulk actions in the background: see project.admin.background_jobs."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.messages.storage.cookie import CookieStorage
from django.db.models.functions import Length
from django.http import HttpRequest, QueryDict

from project.accounts.models import User
from project.admin.background_jobs import BackgroundJobRunner, lock_oldest
from project.admin.changelist import AFTER_PARAMETER
from project.auth.session_principal import session_principal
from project.bridge.database.conditions import Found
from project.emails.admin.actions import ACTIONS, Action
from project.emails.admin.bulk_actions import bulk_action_started
from project.emails.message_sizes import take_up_to
from project.emails.models import BulkAction, BulkState, Email, RawMessage

BODY_DELETED = "The message was deleted after its retention period."
MAX_ROUND_BYTES = 16 * 1024 * 1024  # of the messages in one round


def create_bulk_action_runner() -> BackgroundJobRunner:
    """Return the runner of the application."""
    return BackgroundJobRunner("A bulk action", run_round, fail_oldest, bulk_action_started)


def run_round(*, now: datetime) -> bool:
    """Process the next emails of the oldest running bulk action. Return whether there was a running bulk action."""
    job = _lock_oldest()
    if job is None:
        return False
    action = ACTIONS[job.action]
    if not (job.user.is_active and job.user.has_perms(action.permissions)):
        _finish(job, BulkState.FAILED, now, error=f"{job.user} no longer has the permission.")
        return True
    found = matching_emails(job.user, job.filters, after=_first_after(job))
    ids = _limit_size(found.ids[: action.batch_size])
    is_all = len(ids) == len(found.ids)
    job.last = found.last_checked if is_all and found.last_checked is not None else ids[-1] if ids else None
    if ids:
        _process(job, action, ids, now)
    elif job.last is not None:
        job.save(update_fields=["last"])
    else:
        _finish(job, BulkState.FINISHED, now)
    return True


def fail_oldest(error: str, *, now: datetime) -> None:
    """End the oldest running bulk action, because its round raised an error."""
    if (job := _lock_oldest()) is not None:
        _finish(job, BulkState.FAILED, now, error=error)


def _lock_oldest() -> BulkAction | None:
    return lock_oldest(BulkAction.objects.filter(state=BulkState.RUNNING))


def _finish(job: BulkAction, state: BulkState, now: datetime, *, error: str = "") -> None:
    job.state, job.finished_at, job.error = state, now, error
    job.save(update_fields=["state", "finished_at", "error"])


def _first_after(job: BulkAction) -> UUID:
    """Return the id after which the next emails follow, newest first."""
    return job.last or UUID(int=job.newest.int + 1)


def _limit_size(ids: Sequence[UUID]) -> list[UUID]:
    """Return as many of the ids as one transaction may change."""
    sizes = dict(Email.objects.filter(pk__in=ids).values_list("pk", Length("raw_message__content")))
    return take_up_to(MAX_ROUND_BYTES, [(email_id, sizes.get(email_id)) for email_id in ids])


def matching_emails(user: User, filters: str, *, after: UUID) -> Found:
    """Return the next emails that the admin's list shows to the user with this query string, newest first."""
    request = HttpRequest()
    request.method, request.GET, request.user = "GET", QueryDict(f"{filters}&{AFTER_PARAMETER}={after}"), user
    request._messages = CookieStorage(request)  # type: ignore[attr-defined]  # for a filter's warnings, which are not shown
    found: Found = admin.site.get_model_admin(Email).get_changelist_instance(request).found  # type: ignore[attr-defined]
    return found


def _process(job: BulkAction, action: Action, ids: Sequence[UUID], now: datetime) -> None:
    emails = list(Email.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk"))
    with_body = set(RawMessage.objects.filter(pk__in=ids).values_list("pk", flat=True)) if action.needs_body else set(ids)
    refusals = {email.pk: reason for email in emails if (reason := _refusal(email, action, has_body=email.pk in with_body))}
    allowed = [email for email in emails if email.pk not in refusals]
    for reason, number in Counter(refusals.values()).items():
        job.skipped[reason] = job.skipped.get(reason, 0) + number
    job.changed += len(allowed)
    job.save(update_fields=["changed", "skipped", "last"])
    LogEntry.objects.log_actions(job.user.pk, allowed, CHANGE, action.success)
    if allowed:
        action.apply_to_all(allowed, principal=session_principal(job.user), now=now)  # last, because it appends events


def _refusal(email: Email, action: Action, *, has_body: bool) -> str:
    """Return why the action cannot be applied to the email, or an empty string."""
    if not action.is_allowed(email):
        return f"Cannot be {action.failure} because the status is {email.status}."
    return "" if has_body else BODY_DELETED
