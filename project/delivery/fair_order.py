"""The order in which due emails are claimed: interleaved by priority, by lane, by caller and by age (decisions 0025 and 0035).

A lane contains the due emails of one priority and one status. If a lane has more due emails than a claim takes, the claim takes
emails of several callers in turn, so that the thousands of emails of one caller do not hold up the others. Within a lane and a
caller, the oldest email is first.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.functions import Cast, Length

from project.bridge.database.bulk_select import read_column
from project.delivery.lanes import ALL_PRIORITIES, Lane, lanes_with_due_emails
from project.delivery.owner_rotation import OwnerRotation, next_owners, oldest_ids_of
from project.delivery.priority_turns import PriorityTurns
from project.emails.models import Email, RawMessage
from project.emails.priority import Priority
from project.emails.status import Status

# While domains are avoided, this many of the oldest and newest emails of a lane are searched for emails to other domains.
OLDEST_WINDOW, NEWEST_WINDOW = 2000, 500
MAX_SEARCHED_OWNERS = 40  # that share the window of the oldest emails

T = TypeVar("T")


@dataclass(frozen=True)
class ClaimOptions:
    """Limits of a claim: only these `priorities`, up to `retries` delayed emails (None: any number), and no emails to the
    `avoided_domains`.

    With `newest_first`, the newest queued email is taken first, so that probes do not depend on the oldest emails alone.
    """

    priorities: Collection[Priority] = ALL_PRIORITIES
    retries: int | None = None
    avoided_domains: frozenset[str] = frozenset()
    newest_first: bool = False
    rotation: OwnerRotation = field(default_factory=OwnerRotation)
    turns: PriorityTurns = field(default_factory=PriorityTurns)


@dataclass(frozen=True)
class DueEmail:
    """A due email: its id, its owner, the time or id that orders it within its lane, and the size of its message in bytes."""

    id: UUID
    owner: str
    age: Any
    size: int
    is_retry: bool = False


def select_due(limit: int, options: ClaimOptions, *, now: datetime) -> list[DueEmail]:
    """Lock and return up to `limit` due emails, in the order in which they are to be claimed."""
    if options.newest_first and (newest := _newest(limit, options)):
        return newest
    by_priority: dict[Priority, list[DueEmail]] = {}
    lanes = lanes_with_due_emails(now=now, priorities=options.priorities)
    for priority in Priority:
        lists = [_select(lane, limit, options, now) for lane in lanes if lane.priority == priority]
        by_priority[priority] = _interleave(lists)
    return _take_priority_turns(by_priority, limit, options)


def _newest(limit: int, options: ClaimOptions) -> list[DueEmail]:
    queued = Email.objects.filter(status=Status.QUEUED, crashes=None, priority__in=options.priorities)
    return _locked(queued.order_by("-id"), "id", limit)


def _take_priority_turns(by_priority: Mapping[Priority, Sequence[DueEmail]], limit: int, options: ClaimOptions) -> list[DueEmail]:
    """Return up to `limit` emails, among them up to `options.retries` retries."""
    retries = limit if options.retries is None else options.retries
    left = {priority: list(reversed(emails)) for priority, emails in by_priority.items() if emails}
    chosen: list[DueEmail] = []
    while left and len(chosen) < limit:
        priority = options.turns.next(left.keys())
        email = left[priority].pop()
        if not left[priority]:
            del left[priority]
        if email.is_retry:
            retries -= 1
        if not email.is_retry or retries >= 0:
            chosen.append(email)
    return chosen


def _select(lane: Lane, limit: int, options: ClaimOptions, now: datetime) -> list[DueEmail]:
    if lane.status == Status.DELAYED and options.retries is not None:
        limit = min(limit, options.retries)
    if limit <= 0:
        return []
    if options.avoided_domains:
        return _select_avoiding(lane, limit, options, now)
    first = _first(lane, limit, now)
    if len(first) < limit:
        return sorted(first, key=lambda email: email.age)  # these are all, so every caller gets its turn
    owners = next_owners(lane, limit, options.rotation)
    if len(owners) < 2:
        return first
    ids = oldest_ids_of(lane, owners, 2 * -(-limit // len(owners)), now)  # some owners may have fewer emails than their share
    fair = _take_turns(_locked_in(lane, lane.due(now).filter(id__in=ids).order_by(lane.age), len(ids)))
    both = {email.id: email for email in [*fair, *first]}  # other workers may have locked some of these owners' emails
    return list(both.values())[:limit]


def _select_avoiding(lane: Lane, limit: int, options: ClaimOptions, now: datetime) -> list[DueEmail]:
    """Leave out emails to some domains. Only a limited number of emails is searched, because no index finds other domains."""
    owners = next_owners(lane, MAX_SEARCHED_OWNERS, options.rotation)
    oldest = oldest_ids_of(lane, owners, -(-OLDEST_WINDOW // max(1, len(owners))), now)
    # The index of queued emails by age contains all priorities.
    recent = lane.due(now) if lane.waits_until_due else Email.objects.filter(status=lane.status)
    newest = recent.order_by(F(lane.age).desc()).values("id")[:NEWEST_WINDOW]
    others = lane.due(now).filter(Q(id__in=oldest) | Q(id__in=newest)).alias(addresses=Cast("recipients", TextField()))
    for domain in options.avoided_domains:
        others = others.exclude(addresses__icontains=f'@{domain}"')
    return _take_turns(_locked_in(lane, others.order_by(lane.age), 2 * limit))[:limit]


def _take_turns(emails: Iterable[DueEmail]) -> list[DueEmail]:
    """Return emails, which are in the order of their age, in rounds of one email per owner."""
    by_owner: dict[str, list[DueEmail]] = {}
    for email in emails:
        by_owner.setdefault(email.owner, []).append(email)
    return _interleave(list(by_owner.values()))


def _interleave(groups: Sequence[Sequence[T]]) -> list[T]:
    return [item for items in zip_longest(*groups) for item in items if item is not None]


def _first(lane: Lane, limit: int, now: datetime) -> list[DueEmail]:
    """Lock and return the first due emails in the order of the lane's index.

    In SQL, because each claim runs this query for each lane, and Django takes longer to build it than to load its rows.
    """
    columns, order = (", ".join(f"email.{name}" for name in names) for names in (("id", "owner", lane.age), lane.index_order))
    due = " AND email.next_attempt_at <= %s" if lane.waits_until_due else ""
    statement = (
        f"SELECT {columns}, LENGTH(message.content) FROM {Email._meta.db_table} AS email"  # noqa: S608  # only constants
        f" LEFT JOIN {RawMessage._meta.db_table} AS message ON message.email_id = email.id"
        f" WHERE {lane.condition('email.')}{due} ORDER BY {order} LIMIT {limit:d}"
    )
    lock = " FOR UPDATE OF email SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    with connection.cursor() as cursor:
        cursor.execute(statement + lock, [connection.ops.adapt_datetimefield_value(now)] if lane.waits_until_due else [])
        rows = cursor.fetchall()
    ids, ages = (read_column(Email, name, (row[at] for row in rows)) for name, at in (("id", 0), (lane.age, 2)))
    is_retry = lane.status == Status.DELAYED
    return [DueEmail(id_, row[1], age, row[3], is_retry) for id_, age, row in zip(ids, ages, rows, strict=True)]


def _locked_in(lane: Lane, emails: QuerySet[Email], limit: int) -> list[DueEmail]:
    return _locked(emails, lane.age, limit, is_retry=lane.status == Status.DELAYED)


def _locked(emails: QuerySet[Email], age: str, limit: int, *, is_retry: bool = False) -> list[DueEmail]:
    fields = ("id", "owner", Length("raw_message__content"), *(() if age == "id" else (F(age),)))  # no column twice
    rows = skip_locked(emails).values_list(*fields)[:limit]
    return [DueEmail(id_, owner, by[0] if by else id_, size, is_retry) for id_, owner, size, *by in rows]


def skip_locked(emails: QuerySet[Email]) -> QuerySet[Email]:
    """Lock the rows, and skip rows locked by other transactions. On SQLite, BEGIN IMMEDIATE already excludes other writers."""
    if connection.features.has_select_for_update_skip_locked:
        return emails.select_for_update(skip_locked=True, of=("self",))
    return emails
