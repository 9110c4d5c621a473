"""Runs bulk actions in the background, round by round. Each round is one short transaction, which also stores the progress.

Several processes may run rounds of the same bulk action, because a round locks its row. After a crash, the next round continues
where the last committed round ended.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.messages.storage.cookie import CookieStorage
from django.db import connection
from django.db.models.functions import Length
from django.http import HttpRequest, QueryDict
from django.utils import timezone

from project.accounts.models import User
from project.admin.changelist import AFTER_PARAMETER
from project.auth.session_principal import session_principal
from project.bridge.database.conditions import Found
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, run_in_transaction
from project.emails.admin.actions import ACTIONS, Action
from project.emails.admin.bulk_actions import bulk_action_started
from project.emails.message_sizes import take_up_to
from project.emails.models import BulkAction, BulkState, Email, RawMessage

logger = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 5.0  # finds bulk actions that another process started and did not finish
ROUND_PAUSE_SECONDS = 0.02  # lets other writers in between two rounds
BODY_DELETED = "The message was deleted after its retention period."
MAX_ROUND_BYTES = 16 * 1024 * 1024  # of the messages in one round


class BulkActionRunner:
    """Create one runner per application. The application's lifespan uses `running`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run bulk actions while this context is open. A round in progress is completed."""
        loop, wake_up = asyncio.get_running_loop(), asyncio.Event()
        with bulk_action_started.subscribed(lambda: loop.call_soon_threadsafe(wake_up.set)):
            task = asyncio.create_task(self._run_loop(wake_up))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _run_loop(self, wake_up: asyncio.Event) -> None:
        while True:
            wake_up.clear()
            pause = ROUND_PAUSE_SECONDS if await self._run_round() else POLL_INTERVAL_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await wake_up.wait()

    async def _run_round(self) -> bool:
        """Run one round. Return whether to go on at once: not while the database is unavailable, and not without work."""
        try:
            return await run_in_transaction(run_round, now=timezone.now())
        except DATABASE_UNAVAILABLE_ERRORS:
            return False  # readiness and the log already report this
        except Exception as error:
            logger.exception("A bulk action failed")
            with suppress(*DATABASE_UNAVAILABLE_ERRORS):
                await run_in_transaction(fail_oldest, type(error).__name__, now=timezone.now())
            return False


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
    running = BulkAction.objects.filter(state=BulkState.RUNNING).order_by("id")
    if connection.features.has_select_for_update_skip_locked:
        running = running.select_for_update(skip_locked=True, of=("self",))
    return running.select_related("user").first()


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
