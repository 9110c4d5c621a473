"""The statements that each email needs on its way: to claim it, to load what sending needs, and to record that it was sent.

They are written in SQL, because Django takes several times as long to build them as the database takes to run them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from project.bridge.database.bulk_select import bulk_select, key_condition
from project.emails.models import Email, RawMessage
from project.emails.status import Status

# The fields that sending needs, without those that the claim itself sets. Loading the other fields too would take about half the
# time of a claim.
CLAIMED_FIELDS = (
    "id",
    "owner",
    "priority",
    "sender",
    "recipients",
    "subject",
    "tags",
    "attempts",
    "recipient_results",
    "last_error",
    "created_at",
    "scheduled_at",
    "retried_at",
    "reason",
    "sent_at",
    "crashes",
    "request_id",
    "trace_parent",
)
_TABLE = Email._meta.db_table
_CLAIM = f"""
    UPDATE {_TABLE} SET status = '{Status.SENDING}', claimed_by = %s, lease_expires_at = %s, next_attempt_at = NULL,
           attempts = attempts + 1
     WHERE """  # noqa: S608  # only constants
_HAS_CRASHED = f"""
    SELECT EXISTS (SELECT 1 FROM {_TABLE} WHERE crashes IS NOT NULL
           AND status IN ('{Status.QUEUED}', '{Status.DELAYED}', '{Status.SENDING}'))"""  # noqa: S608
# A retried email may have been sent to other recipients before.
_FINISH_SENT = f"""
    UPDATE {_TABLE} SET status = '{Status.SENT}', sent_at = COALESCE(sent_at, %s), last_error = '', reason = NULL, relay = %s,
           claimed_by = '', lease_expires_at = NULL, crashes = NULL
     WHERE status = '{Status.SENDING}' AND claimed_by = %s AND """  # noqa: S608


def has_crashed_rows() -> bool:
    """Return whether there are emails, waiting or in flight, that workers crashed on."""
    with connection.cursor() as cursor:
        cursor.execute(_HAS_CRASHED)
        return bool(cursor.fetchone()[0])


def claim_rows(ids: Sequence[UUID], worker: str, *, lease_expires_at: datetime) -> list[Email]:
    """Claim emails, count an attempt for each, and return them with their messages, in the order of their ids."""
    _update(_CLAIM, worker, _time(lease_expires_at), ids=ids)
    emails = bulk_select(Email, CLAIMED_FIELDS, ids)
    messages = {message.email_id: message for message in bulk_select(RawMessage, ("email", "content"), ids)}
    for email in emails:
        vars(email).update(status=Status.SENDING, claimed_by=worker, lease_expires_at=lease_expires_at, next_attempt_at=None)
        email._state.fields_cache["raw_message"] = messages.get(email.id)  # without one, sending fails for this email alone
    return emails


def finish_sent_rows(ids: Sequence[UUID], worker: str, relay: str | None, *, at: datetime) -> int:
    """Record that a relay accepted emails for all recipients. Return how many of the emails `worker` still holds."""
    return _update(_FINISH_SENT, _time(at), relay, worker, ids=ids)


def _update(statement: str, *parameters: Any, ids: Sequence[UUID]) -> int:
    condition, keys = key_condition(Email, ids)
    with connection.cursor() as cursor:
        cursor.execute(statement + condition, [*parameters, *keys])
        return int(cursor.rowcount)


def _time(time: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(time)
