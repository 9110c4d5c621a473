"""The suppression list: addresses that get no mail from us, one by one, many at once, and as CSV.

It is kept and asked in lower case, local part and all. A relay may tell `Ada@example.com` from `ada@example.com` (RFC 5321
section 2.4); no known one does, and a list that misses one of the two is useless.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from project.emails.mime.email_addresses import normalize_address
from project.errors import DomainError
from project.suppressions.models import Suppression

MAX_REASON_LENGTH = 500  # characters

_ADDRESSES_PER_QUERY = 30_000  # addresses in one query; SQLite takes 32,766 variables


class SuppressionNotFound(DomainError):
    """The address is not on the list."""

    code = "suppression_not_found"


@dataclass(frozen=True)
class NewSuppression:
    """An address that is to be on the list, in its normal form, why, and the mail that showed it."""

    address: str
    reason: str = ""
    email_id: UUID | None = None


def suppress(address: str, *, reason: str = "", email_id: UUID | None = None, now: datetime) -> Suppression:
    """Put an address on the list, or change why it is there. Raises ValueError, which says why, for what is no address."""
    entry = NewSuppression(normalize_address(address), reason, email_id)
    suppress_all([entry], now=now)
    return get_suppression(entry.address)


def suppress_all(entries: Iterable[NewSuppression], *, now: datetime) -> None:
    """Put many on the list. Who is there stays since when it was, with the reason that came last."""
    rows = {entry.address.lower(): entry for entry in entries}  # an address may be only once in one statement
    Suppression.objects.bulk_create(
        [
            Suppression(address=address, reason=entry.reason[:MAX_REASON_LENGTH], email_id=entry.email_id, created_at=now)
            for address, entry in sorted(rows.items())  # in order, so that no two wait for each other
        ],
        update_conflicts=True,
        unique_fields=["address"],
        update_fields=["reason", "email"],
    )


def remove(address: str) -> None:
    """Take an address off the list. Raises `SuppressionNotFound`."""
    deleted, _ = Suppression.objects.filter(address=address.lower()).delete()
    if not deleted:
        raise _not_found(address)


def get_suppression(address: str) -> Suppression:
    """One of the list. Raises `SuppressionNotFound`."""
    suppression = Suppression.objects.filter(address=address.lower()).first()
    if suppression is None:
        raise _not_found(address)
    return suppression


def list_suppressions(*, after: str | None = None, limit: int = 20) -> list[Suppression]:
    """Those after an address, in order: one more than `limit`, if there are more."""
    suppressions = Suppression.objects.order_by("address")
    if after is not None:
        suppressions = suppressions.filter(address__gt=after.lower())
    return list(suppressions[: limit + 1])


def find_suppressed(addresses: Iterable[str]) -> set[str]:
    """Those of the addresses, as they were given, that are on the list in any case."""
    asked = list(addresses)
    keys = sorted({address.lower() for address in asked})
    found: set[str] = set()
    for start in range(0, len(keys), _ADDRESSES_PER_QUERY):
        some = Suppression.objects.filter(address__in=keys[start : start + _ADDRESSES_PER_QUERY])
        found.update(some.values_list("address", flat=True))
    return {address for address in asked if address.lower() in found}


# CSV


def _not_found(address: str) -> SuppressionNotFound:
    return SuppressionNotFound(f"{address} is not on the suppression list.")
