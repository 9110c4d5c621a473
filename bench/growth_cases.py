"""What the outbox asks of the database, each as it is called: to be timed and explained. Needs Django to be set up."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from bench.million import COMMON_ADDRESS, COMMON_KEY, COMMON_TAG, FEW, RARE_KEY
from project.auth.principal import Principal
from project.delivery.claim import claim_emails, next_due_at, renew_leases, requeue_abandoned
from project.emails.mime.builder import Draft
from project.emails.models import Email
from project.emails.receipts import SubmissionReceipt
from project.emails.selectors import EmailFilter, PageRequest, get_email, list_email_events, list_emails
from project.emails.submit import NewEmail, PreparedEmail, prepare_email, submit_batch, submit_emails
from project.events.selectors import EventFilter, events_after

BATCH = 1000
CLAIMED = 50
ENGINE = "bench"
PAGE = PageRequest(limit=FEW - 1)  # it reads one more
STAFF = Principal("session", "admin", frozenset(), "user:1", can_view_all=True)
CALLERS = {
    "staff": STAFF,
    "a key of a fifth": Principal("key", "common", frozenset(), COMMON_KEY),
    "a key of ten mails": Principal("key", "rare", frozenset(), RARE_KEY),
}
RARE_ADDRESS, RARE_TAG = "user7@example.com", ("order", "7")
FILTERS = {
    "": EmailFilter(),
    **{f" status={status}": EmailFilter(status=status) for status in ("sent", "failed", "queued", "scheduled", "sending")},
    " to=rare": EmailFilter(to=RARE_ADDRESS),
    " to=common": EmailFilter(to=COMMON_ADDRESS),
    " to=nobody": EmailFilter(to="nobody@example.com"),
    " tag=rare": EmailFilter(tag=RARE_TAG),
    " tag=common": EmailFilter(tag=COMMON_TAG),
    " tag=none": EmailFilter(tag=("order", "none")),
    " status=failed to=common": EmailFilter(status="failed", to=COMMON_ADDRESS),
    " status=failed tag=common": EmailFilter(status="failed", tag=COMMON_TAG),
}
TYPES: dict[str, list[str] | None] = {"": None, " type=sent": ["email.sent"], " type=delayed": ["email.delayed"]}


def _nothing(*_given: Any) -> None:
    return None


@dataclass(frozen=True)
class Case:
    """Something that is asked. `act` alone is timed, given what `prepare` made; `undo` takes back what it wrote."""

    name: str
    act: Callable[[Any], Any]
    prepare: Callable[[], Any] = _nothing
    undo: Callable[[Any], Any] = _nothing


def cases() -> list[Case]:
    """All of them."""
    return [
        Case("accept one", submit_emails, partial(_orders, 1), _forget),
        Case(f"accept a batch of {BATCH}", submit_batch, partial(_orders, BATCH), _forget),
        Case(f"claim {CLAIMED}", lambda _: claim_emails(ENGINE, limit=CLAIMED, now=_now()), undo=_put_back),
        Case(f"renew leases of {CLAIMED}", lambda held: renew_leases(ENGINE, held, now=_now()), _claim, _put_back),
        Case(f"requeue {CLAIMED}", lambda _: requeue_abandoned([ENGINE], now=_now()), _claim),
        Case("requeue none", lambda _: requeue_abandoned([], now=_now())),
        Case("next due", lambda _: next_due_at()),
        Case("get one", lambda email_id: get_email(email_id, principal=STAFF), _one),
        Case("events of one", lambda email_id: list_email_events(email_id, principal=STAFF), _one),
        Case(
            "list, staff, a page in the middle",
            lambda after: list_emails(EmailFilter(), PageRequest(after, FEW - 1), principal=STAFF),
            _one,
        ),
        *(_list(f"{who}{what}", caller, wanted) for who, caller in CALLERS.items() for what, wanted in FILTERS.items()),
        *(_events(f"{who}{what}", caller, types) for who, caller in CALLERS.items() for what, types in TYPES.items()),
    ]


def _list(name: str, caller: Principal, wanted: EmailFilter) -> Case:
    return Case(f"list, {name}", lambda _: list_emails(wanted, PAGE, principal=caller))


def _events(name: str, caller: Principal, types: list[str] | None) -> Case:
    wanted = EventFilter.by(caller, types=types)
    return Case(f"events, {name}", lambda _: events_after(0, wanted=wanted, limit=FEW))


def _now() -> datetime:
    return datetime.now(UTC)


def _orders(count: int) -> list[PreparedEmail]:
    """To addresses and with tags that are anywhere in their indexes, as they come in life."""
    return [prepare_email(_order(random.randrange(100_000)), now=_now()) for _ in range(count)]  # noqa: S311


def _order(anyone: int) -> NewEmail:
    draft = Draft("shop@example.com", to=(f"user{anyone}@example.com",), subject="Your order", text="It is on its way.")
    return NewEmail(draft, COMMON_KEY, tags={"order": str(anyone), "kind": "receipt"})


def _forget(accepted: Sequence[SubmissionReceipt]) -> None:
    Email.objects.filter(id__in=[each.id for each in accepted]).delete()


def _claim() -> list[UUID]:
    return [email.id for email in claim_emails(ENGINE, limit=CLAIMED, now=_now())]


def _put_back(_given: Any) -> None:
    requeue_abandoned([ENGINE], now=_now())


def _one() -> UUID:
    """One in the middle of the month."""
    ids = Email.objects.filter(recipient__address=RARE_ADDRESS).order_by("id").values_list("id", flat=True)
    return list(ids)[FEW // 2]
