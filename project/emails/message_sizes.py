"""Limits of the total size of the messages that one transaction reads or deletes. Pure."""

from collections.abc import Iterable
from uuid import UUID


def take_up_to(max_bytes: int, sizes: Iterable[tuple[UUID, int | None]]) -> list[UUID]:
    """Return the first ids whose messages have up to `max_bytes` together, but at least one. `sizes` are pairs of id and bytes.

    A message that was deleted has no size.
    """
    ids: list[UUID] = []
    total_bytes = 0
    for message_id, size in sizes:
        total_bytes += size or 0
        if ids and total_bytes > max_bytes:
            break
        ids.append(message_id)
    return ids
