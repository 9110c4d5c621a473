"""The owners of a lane's emails, who take turns: found without reading the emails between two owners."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import connection

from project.delivery.lanes import Lane
from project.emails.models import Email

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


@dataclass
class OwnerRotation:
    """For each lane, the last owner of the previous search for owners. None: start with the first owner."""

    after: dict[Lane, str | None] = field(default_factory=dict)


def next_owners(lane: Lane, limit: int, rotation: OwnerRotation) -> list[str]:
    """Return up to `limit` owners with emails in the lane. If there are more, the next call returns the owners after these."""
    after = rotation.after.get(lane)
    owners = _owners_after(lane, after, limit)
    if after is not None and len(owners) < limit:
        owners += [owner for owner in _owners_after(lane, None, limit - len(owners)) if owner not in owners]
    rotation.after[lane] = owners[-1] if len(owners) >= limit else None
    return owners


def _owners_after(lane: Lane, after: str | None, limit: int) -> list[str]:
    sql = _OWNERS.format(
        table=Email._meta.db_table,
        lane=lane.condition(),
        next_lane=lane.condition("next."),
        after=">=" if after is None else ">",
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [after or "", limit])
        return [owner for (owner,) in cursor.fetchall()]


def oldest_ids_of(lane: Lane, owners: Sequence[str], each: int, now: datetime) -> list[UUID]:
    """Return the ids of the oldest due emails of each of the owners."""
    if not owners:
        return []
    due = " AND next_attempt_at <= %s" if lane.waits_until_due else ""
    select = (
        f"SELECT id FROM (SELECT id FROM {Email._meta.db_table} WHERE {lane.condition()}"  # noqa: S608  # only constants
        f" AND owner = %s{due} ORDER BY {lane.age} LIMIT {each}) AS oldest"
    )
    time = [connection.ops.adapt_datetimefield_value(now)] if lane.waits_until_due else []
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([select] * len(owners)), [value for owner in owners for value in (owner, *time)])
        return [UUID(str(email_id)) for (email_id,) in cursor.fetchall()]
