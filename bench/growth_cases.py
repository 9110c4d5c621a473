"""Mailrail's database operations as cases, which are timed and whose query plans are printed. Needs `django.setup()`."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from bench.million import COMMON_ADDRESS, COMMON_KEY, COMMON_TAG, FEW, RARE_KEY
from project.accounts.models import User
from project.auth.principal import Principal
from project.delivery.abandoned import Verdict, requeue_abandoned
from project.delivery.claim import claim_emails, next_due_at, renew_leases
from project.emails.admin.bulk_runner import matching_emails
from project.emails.mime.builder import Draft
from project.emails.models import Email
from project.emails.priority import Priority
from project.emails.selectors import EmailFilter, PageRequest, get_email, list_email_events, list_emails
from project.emails.submission_result import SubmissionResult
from project.emails.submit import NewEmail, PreparedEmail, prepare_email, submit_batch, submit_emails
from project.events.selectors import EventFilter, events_after

BATCH = 1000
CLAIMED = 50
WORKER = "bench"
WORKER_ENDED = Verdict(ended=[WORKER])
PAGE = PageRequest(limit=FEW - 1)  # the query reads one more row
STAFF = Principal("session", "admin", frozenset(), "user:1", can_view_all=True)
CALLERS = {
    "staff": STAFF,
    "a key with a fifth of all emails": Principal("key", "common", frozenset(), COMMON_KEY),
    "a key with ten emails": Principal("key", "rare", frozenset(), RARE_KEY),
}
RARE_ADDRESS, RARE_TAG = "user7@example.com", ("order", "7")
FILTERS = {
    "": EmailFilter(),
    **{f" status={status}": EmailFilter(status=status) for status in ("sent", "failed", "queued", "scheduled", "sending")},
    **{f" priority={priority}": EmailFilter(priority=priority) for priority in Priority},
    " to=rare": EmailFilter(to=RARE_ADDRESS),
    " to=common": EmailFilter(to=COMMON_ADDRESS),
    " to=none": EmailFilter(to="none@example.com"),
    " tag=rare": EmailFilter(tag=RARE_TAG),
    " tag=common": EmailFilter(tag=COMMON_TAG),
    " tag=none": EmailFilter(tag=("order", "none")),
    " status=failed to=common": EmailFilter(status="failed", to=COMMON_ADDRESS),
    " status=failed tag=common": EmailFilter(status="failed", tag=COMMON_TAG),
    " status=canceled to=common tag=common": EmailFilter(status="canceled", to=COMMON_ADDRESS, tag=COMMON_TAG),
    " to=common tag=common (none has both)": EmailFilter(to=COMMON_ADDRESS, tag=COMMON_TAG),
    " status=canceled tag=reminder (none has both)": EmailFilter(status="canceled", tag=("kind", "reminder")),
    " to=common tag=rare": EmailFilter(to=COMMON_ADDRESS, tag=RARE_TAG),
    " to=rare tag=common": EmailFilter(to=RARE_ADDRESS, tag=COMMON_TAG),
}
ADMIN_LISTS = (
    "",
    "status=failed",
    "status=sent",
    "tag=kind:receipt",
    "owner=key:1",
    "day=month",
    "status=canceled&tag=kind:reminder",
    "owner=key:1&status=failed&tag=kind:receipt",
    "day=month&status=bounced&tag=kind:receipt",
    f"q={COMMON_ADDRESS}&tag=kind:receipt",
    "q=user&status=failed",
    "sender=nobody@example.com",
)
TYPES: dict[str, list[str] | None] = {
    "": None,
    " type=sent": ["email.sent"],
    " type=delayed": ["email.delayed"],
    " type=delayed,sent": ["email.delayed", "email.sent"],
    " type=suppressed": ["email.suppressed"],
}


def _nothing(*_args: Any) -> None:
    return None


@dataclass(frozen=True)
class Case:
    """A database operation. Only `act` is timed. It receives the result of `prepare`, and `undo` reverts its writes."""

    name: str
    act: Callable[[Any], Any]
    prepare: Callable[[], Any] = _nothing
    undo: Callable[[Any], Any] = _nothing


def cases() -> list[Case]:
    """Return all cases."""
    return [
        Case("submit one", submit_emails, partial(_new_emails, 1), _delete),
        Case(f"submit a batch of {BATCH}", submit_batch, partial(_new_emails, BATCH), _delete),
        Case(f"claim {CLAIMED}", lambda _: claim_emails(WORKER, limit=CLAIMED, now=_now()), undo=_requeue),
        Case(f"renew leases of {CLAIMED}", lambda ids: renew_leases(WORKER, ids, now=_now()), _claim, _requeue),
        Case(f"requeue {CLAIMED}", lambda _: requeue_abandoned(WORKER_ENDED, sending={WORKER: ()}, now=_now()), _claim),
        Case("requeue none", lambda _: requeue_abandoned(Verdict(), now=_now())),
        Case("next due", lambda _: next_due_at()),
        Case("get one", lambda email_id: get_email(email_id, principal=STAFF), _one),
        Case("events of one", lambda email_id: list_email_events(email_id, principal=STAFF), _one),
        Case(
            "list, staff, a page in the middle",
            lambda after: list_emails(EmailFilter(), PageRequest(after, FEW - 1), principal=STAFF),
            _one,
        ),
        *(_list(f"{name}{suffix}", caller, each) for name, caller in CALLERS.items() for suffix, each in FILTERS.items()),
        *(_admin_list(query) for query in ADMIN_LISTS),
        *(_events(f"{name}{suffix}", caller, types) for name, caller in CALLERS.items() for suffix, types in TYPES.items()),
    ]


def _list(name: str, caller: Principal, email_filter: EmailFilter) -> Case:
    return Case(f"list, {name}", lambda _: list_emails(email_filter, PAGE, principal=caller))


def _admin_list(query: str) -> Case:
    admin = User(username="admin", is_superuser=True)
    return Case(f"list, admin {query}", lambda _: matching_emails(admin, query, after=UUID(int=2**128 - 1)))


def _events(name: str, caller: Principal, types: list[str] | None) -> Case:
    event_filter = EventFilter.for_principal(caller, types=types)
    return Case(f"events, {name}", lambda _: events_after(0, event_filter=event_filter, limit=FEW))


def _now() -> datetime:
    return datetime.now(UTC)


def _new_emails(count: int) -> list[PreparedEmail]:
    """Return emails whose recipients and tags are spread over the indexes, as in production."""
    return [prepare_email(_new_email(random.randrange(100_000)), now=_now()) for _ in range(count)]  # noqa: S311


def _new_email(number: int) -> NewEmail:
    draft = Draft("shop@example.com", to=(f"user{number}@example.com",), subject="Your order", text="It is on its way.")
    return NewEmail(draft, COMMON_KEY, tags={"order": str(number), "kind": "receipt"})


def _delete(results: Sequence[SubmissionResult]) -> None:
    Email.objects.filter(id__in=[each.id for each in results]).delete()


def _claim() -> list[UUID]:
    return [email.id for email in claim_emails(WORKER, limit=CLAIMED, now=_now())]


def _requeue(_result: Any) -> None:
    requeue_abandoned(WORKER_ENDED, sending={WORKER: ()}, now=_now())


def _one() -> UUID:
    """Return the id of an email in the middle of the month."""
    ids = Email.objects.filter(recipient__address=RARE_ADDRESS).order_by("id").values_list("id", flat=True)
    return list(ids)[FEW // 2]
