"""The suppression list: add, remove and look up the email addresses that must not receive email.

Addresses are stored and compared in lowercase, including the local part, so that the list matches every spelling. RFC 5321
section 2.4 allows a mail server to distinguish `Ada@example.com` and `ada@example.com`, but no known mail server does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.dispatch import Signal

from project.bridge.database.bulk_select import key_condition
from project.bridge.database.transactions import call_in_transaction
from project.emails.mime.email_addresses import normalize_address
from project.emails.search import begins_with
from project.errors import DomainError
from project.suppressions.models import Suppression

MAX_REASON_LENGTH = 500  # characters
REMOVED_PER_TRANSACTION = 500

suppression_added = Signal()  # sent with `address` if a caller adds or updates one entry, in the transaction
suppression_removed = Signal()  # sent with `address`, in the transaction
suppressions_removed = Signal()  # sent with `count` and `prefix`, once for each removal of many addresses
_ADDRESSES_PER_QUERY = 30_000  # SQLite allows 32,766 variables in a query


class SuppressionNotFound(DomainError):
    """The address is not on the suppression list."""

    code = "suppression_not_found"


@dataclass(frozen=True)
class NewSuppression:
    """An email address to add, which must be normalized, with the reason and the email that bounced."""

    address: str
    reason: str = ""
    email_id: UUID | None = None


def suppress(address: str, *, reason: str = "", email_id: UUID | None = None, now: datetime) -> Suppression:
    """Add an address to the list, or update its reason. Raises `ValueError` with the problem if the address is invalid."""
    entry = NewSuppression(normalize_address(address), reason, email_id)
    suppress_all([entry], now=now)
    suppression_added.send(sender=Suppression, address=entry.address.lower())
    return get_suppression(entry.address)


def suppress_all(entries: Iterable[NewSuppression], *, now: datetime) -> None:
    """Add many addresses. An address that is already on the list keeps its `created_at` and gets the new reason."""
    rows = {entry.address.lower(): entry for entry in entries}  # an upsert must not contain the same row twice
    Suppression.objects.bulk_create(
        [
            Suppression(address=address, reason=entry.reason[:MAX_REASON_LENGTH], email_id=entry.email_id, created_at=now)
            for address, entry in sorted(rows.items())  # in a fixed order, to avoid deadlocks
        ],
        update_conflicts=True,
        unique_fields=["address"],
        update_fields=["reason", "email"],
    )


def remove(address: str) -> None:
    """Remove an address from the list. Raises `SuppressionNotFound`."""
    deleted, _ = Suppression.objects.filter(address=address.lower()).delete()
    if not deleted:
        raise _not_found(address)
    suppression_removed.send(sender=Suppression, address=address.lower())


def beginning_with(prefix: str) -> QuerySet[Suppression]:
    """Return the entries whose address begins with the prefix, in any case. Uses the index."""
    return Suppression.objects.filter(begins_with("address", prefix.lower())) if prefix else Suppression.objects.all()


def remove_beginning_with(prefix: str, *, limit: int) -> int:
    """Remove up to `limit` addresses that begin with the prefix, in short transactions. Return how many were removed."""
    removed = 0
    try:
        while removed < limit:
            count = call_in_transaction(_remove_some, prefix, min(REMOVED_PER_TRANSACTION, limit - removed))
            removed += count
            if not count:
                break
    finally:  # also if a later transaction fails: the earlier ones are committed
        if removed:
            suppressions_removed.send(sender=Suppression, count=removed, prefix=prefix)
    return removed


def _remove_some(prefix: str, limit: int) -> int:
    addresses = list(beginning_with(prefix).order_by("address").values_list("address", flat=True)[:limit])
    return Suppression.objects.filter(address__in=addresses).delete()[0]


def get_suppression(address: str) -> Suppression:
    """Return the entry of an address. Raises `SuppressionNotFound`."""
    suppression = Suppression.objects.filter(address=address.lower()).first()
    if suppression is None:
        raise _not_found(address)
    return suppression


def list_suppressions(*, after: str | None = None, limit: int = 20) -> list[Suppression]:
    """Return up to `limit` suppressions after the address `after`, in order of address, and one more if there is a next page."""
    suppressions = Suppression.objects.order_by("address")
    if after is not None:
        suppressions = suppressions.filter(address__gt=after.lower())
    return list(suppressions[: limit + 1])


def find_suppressed(addresses: Iterable[str]) -> set[str]:
    """Return the addresses that are on the list, in the spelling of the argument. The comparison ignores case."""
    candidates = list(addresses)
    keys = sorted({address.lower() for address in candidates})
    found: set[str] = set()
    for start in range(0, len(keys), _ADDRESSES_PER_QUERY):
        # Each claim of emails runs this query, and Django would take far longer to build it than the database takes to run it.
        condition, parameters = key_condition(Suppression, keys[start : start + _ADDRESSES_PER_QUERY])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT address FROM {Suppression._meta.db_table} WHERE {condition}", parameters)  # noqa: S608
            found.update(address for (address,) in cursor.fetchall())
    return {address for address in candidates if address.lower() in found}


def _not_found(address: str) -> SuppressionNotFound:
    return SuppressionNotFound(f"{address} is not on the suppression list.")
