"""The way in for callers: mail is made ready beside the database, and callers at the same time share commits."""

from collections.abc import Sequence
from datetime import UTC, datetime

from project.bridge import database
from project.bridge.commits import SharedCommits
from project.bridge.threads import Threads
from project.outbox.accept import Accepted, Idempotency, Order, Prepared, accept_batch, accept_emails, prepare

SMALL = 64 * 1024  # characters and bytes: made ready in less time than it takes to hand it to a thread
PART = 100  # what an attachment weighs beside its content


class Intake:
    """Accepts mail. One per application, so that its callers share commits."""

    def __init__(self) -> None:
        self._threads = Threads("intake", 1)  # one: the work is the processor's, and Python has one interpreter lock
        self._commits: SharedCommits[Prepared, Accepted] = SharedCommits(accept_emails)

    async def accept(self, order: Order) -> Accepted:
        """Queue a mail, once for each key of its caller; it is committed when this returns. Raises `IdempotencyKeyReused`."""
        now = datetime.now(UTC)
        mail = prepare(order, now=now) if _weight(order) < SMALL else await self._threads.run(prepare, order, now=now)
        return await self._commits.run(mail)

    async def accept_batch(self, orders: Sequence[Order], *, asked: Idempotency | None = None) -> list[Accepted]:
        """Queue many mails, all or none, and once for their key; they are committed when this returns."""
        now = datetime.now(UTC)
        mails = await self._threads.run(lambda: [prepare(order, now=now) for order in orders])
        return await database.run(accept_batch, mails, asked=asked)

    def close(self) -> None:
        """Let its thread go."""
        self._threads.close()


def _weight(order: Order) -> int:
    draft = order.draft
    files = sum(PART + len(attachment.content) for attachment in draft.attachments)
    return len(draft.text or "") + len(draft.html or "") + files
