"""The order in which due emails are claimed: interleaved by lane, by caller and by age (decision 0025).

New, scheduled and delayed emails are three lanes, each with its own index. If a lane has more due emails than a claim takes, the
claim takes emails of several callers in turn, so that the thousands of emails of one caller do not hold up the others. Within a
lane and a caller, the oldest email is first. A priority would be one more lane here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.functions import Cast, Length

from project.emails.models import Email
from project.emails.status import Status

# While domains are avoided, this many of the oldest and newest emails of a lane are searched for emails to other domains.
OLDEST_WINDOW, NEWEST_WINDOW = 2000, 500

T = TypeVar("T")


@dataclass
class OwnerRotation:
    """For each lane, the last owner of the previous search for owners. None: start with the first owner."""

    after: dict[Status, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ClaimOptions:
    """Limits of a claim: up to `retries` delayed emails (None: any number), and no emails to the `avoided_domains`.

    With `newest_first`, the newest queued email is taken first, so that probes do not depend on the oldest emails alone.
    """

    retries: int | None = None
    avoided_domains: frozenset[str] = frozenset()
    newest_first: bool = False
    rotation: OwnerRotation = field(default_factory=OwnerRotation)


@dataclass(frozen=True)
class DueEmail:
    """A due email: its id, its owner, and the size of its message in bytes."""

    id: UUID
    owner: str
    size: int


@dataclass(frozen=True)
class _Lane:
    status: Status
    order: str

    def due(self, now: datetime) -> QuerySet[Email]:
        due = Email.objects.filter(status=self.status, crashes=None)
        return due if self.order == "id" else due.filter(next_attempt_at__lte=now)


QUEUED = _Lane(Status.QUEUED, "id")
SCHEDULED, DELAYED = _Lane(Status.SCHEDULED, "next_attempt_at"), _Lane(Status.DELAYED, "next_attempt_at")


def select_due(limit: int, options: ClaimOptions, *, now: datetime) -> list[DueEmail]:
    """Lock and return up to `limit` due emails, in the order in which they are to be claimed."""
    if options.newest_first and (newest := _locked(QUEUED.due(now).order_by("-id"), limit)):
        return newest
    queued = _select(QUEUED, limit, options, now)
    if not Email.objects.filter(next_attempt_at__lte=now).exists():  # one query instead of two for most claims
        return queued
    retries = limit if options.retries is None else min(limit, options.retries)
    scheduled, delayed = _select(SCHEDULED, limit, options, now), _select(DELAYED, retries, options, now)
    return _interleave([queued, scheduled, delayed])[:limit]


def _select(lane: _Lane, limit: int, options: ClaimOptions, now: datetime) -> list[DueEmail]:
    if limit <= 0:
        return []
    due = _avoiding(lane, lane.due(now), options.avoided_domains)
    oldest = _locked(due.order_by(lane.order), limit)
    if len(oldest) < limit:
        return oldest  # these are all, so every caller gets its turn
    owners = _next_owners(lane, limit, options.rotation)
    if len(owners) < 2:
        return oldest
    ids = _oldest_ids_of(lane, owners, -(-limit // len(owners)), now)
    fair = _take_turns(_locked(due.filter(id__in=ids).order_by(lane.order), len(ids)))
    return list(dict.fromkeys([*fair, *oldest]))[:limit]  # other workers may have locked some of these owners' emails


def _take_turns(emails: Iterable[DueEmail]) -> list[DueEmail]:
    """Return emails, which are in the order of their age, in rounds of one email per owner."""
    by_owner: dict[str, list[DueEmail]] = {}
    for email in emails:
        by_owner.setdefault(email.owner, []).append(email)
    return _interleave(list(by_owner.values()))


def _interleave(groups: Sequence[Sequence[T]]) -> list[T]:
    return [item for items in zip_longest(*groups) for item in items if item is not None]


def _locked(emails: QuerySet[Email], limit: int) -> list[DueEmail]:
    rows = skip_locked(emails).values_list("id", "owner", Length("raw_message__content"))
    return [DueEmail(*row) for row in rows[:limit]]


def skip_locked(emails: QuerySet[Email]) -> QuerySet[Email]:
    """Lock the rows, and skip rows locked by other transactions. On SQLite, BEGIN IMMEDIATE already excludes other writers."""
    if connection.features.has_select_for_update_skip_locked:
        return emails.select_for_update(skip_locked=True, of=("self",))
    return emails


def _avoiding(lane: _Lane, due: QuerySet[Email], domains: frozenset[str]) -> QuerySet[Email]:
    """Leave out emails to some domains. Only a limited number of emails is searched, because no index finds other domains."""
    if not domains:
        return due
    oldest = due.order_by(lane.order).values("id")[:OLDEST_WINDOW]
    newest = due.order_by(F(lane.order).desc()).values("id")[:NEWEST_WINDOW]
    others = due.filter(Q(id__in=oldest) | Q(id__in=newest)).alias(addresses=Cast("recipients", TextField()))
    for domain in domains:
        others = others.exclude(addresses__icontains=f'@{domain}"')
    return others


# A loose index scan: each step finds the next owner in an index that begins with the owner, whatever the number of emails.
_OWNERS = """
WITH RECURSIVE owners (owner, number) AS (
    SELECT (SELECT owner FROM {table} WHERE {lane} AND owner {after} %s ORDER BY owner LIMIT 1), 1
    UNION ALL
    SELECT (SELECT next.owner FROM {table} AS next WHERE {next_lane} AND next.owner > owners.owner ORDER BY next.owner LIMIT 1),
        owners.number + 1
    FROM owners WHERE owners.owner IS NOT NULL AND owners.number < %s
)
SELECT owner FROM owners WHERE owner IS NOT NULL
"""


def _next_owners(lane: _Lane, limit: int, rotation: OwnerRotation) -> list[str]:
    """Return up to `limit` owners with emails in the lane. If there are more, the next call returns the owners after these."""
    after = rotation.after.get(lane.status)
    owners = _owners_after(lane, after, limit)
    if after is not None and len(owners) < limit:
        owners += [owner for owner in _owners_after(lane, None, limit - len(owners)) if owner not in owners]
    rotation.after[lane.status] = owners[-1] if len(owners) >= limit else None
    return owners


def _owners_after(lane: _Lane, after: str | None, limit: int) -> list[str]:
    sql = _OWNERS.format(
        table=Email._meta.db_table,
        lane=_lane_condition(lane, ""),
        next_lane=_lane_condition(lane, "next."),
        after=">=" if after is None else ">",
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [after or "", limit])
        return [owner for (owner,) in cursor.fetchall()]


def _lane_condition(lane: _Lane, prefix: str) -> str:
    """Return the condition of the lane's partial index, with constants, because SQLite must see that the condition is implied."""
    waiting = "" if lane.order == "id" else f" AND {prefix}next_attempt_at IS NOT NULL"
    return f"{prefix}status = '{lane.status.value}' AND {prefix}crashes IS NULL{waiting}"


def _oldest_ids_of(lane: _Lane, owners: Sequence[str], each: int, now: datetime) -> list[UUID]:
    """Return the ids of the oldest due emails of each of the owners."""
    due = "" if lane.order == "id" else " AND next_attempt_at <= %s"
    select = (
        f"SELECT id FROM (SELECT id FROM {Email._meta.db_table} WHERE {_lane_condition(lane, '')}"  # noqa: S608  # only constants
        f" AND owner = %s{due} ORDER BY {lane.order} LIMIT {each}) AS oldest"
    )
    time = [] if lane.order == "id" else [connection.ops.adapt_datetimefield_value(now)]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([select] * len(owners)), [value for owner in owners for value in (owner, *time)])
        return [UUID(str(email_id)) for (email_id,) in cursor.fetchall()]
