"""Ids of emails as times: a UUIDv7 starts with 48 bits of milliseconds (RFC 9562 section 5.7). Pure."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of the millisecond, or the smallest of all for a time before 1970."""
    milliseconds = (moment - EPOCH) // timedelta(milliseconds=1)
    return UUID(int=max(milliseconds, 0) << 80)
