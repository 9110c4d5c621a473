"""The interface between the sender pool and the part of the worker that keeps the claims."""

from typing import Protocol
from uuid import UUID


class ClaimGuard(Protocol):
    """Checks claims, and stores which emails are being sent."""

    async def may_start(self, email_id: UUID) -> bool:
        """Return whether the worker still holds its claim on an email that it is about to send."""

    def started(self, email_id: UUID) -> None:
        """Record that an email is being sent."""

    def ended(self, email_id: UUID) -> None:
        """Record that an email is no longer being sent."""
