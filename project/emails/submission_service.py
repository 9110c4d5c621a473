"""Entry point of the application for new emails. MIME is built outside the transaction, and concurrent callers share commits."""

from collections.abc import Hashable, Iterator, Sequence
from datetime import UTC, datetime

from project.bridge.background.thread_pool import ThreadPool
from project.bridge.database.group_commit import GroupCommit, GroupCommitLimits
from project.bridge.database.transactions import run_in_transaction
from project.emails.idempotency import Idempotency
from project.emails.mime.build_budget import BatchTooComplex, BuildBudget
from project.emails.submission_result import SubmissionResult
from project.emails.submit import (
    MAX_BATCH_BYTES,
    EmailTooLarge,
    NewEmail,
    PreparedEmail,
    prepare_email,
    submit_batch,
    submit_emails,
)

MAX_INLINE_SIZE = 64 * 1024  # characters and bytes; building a smaller email takes less time than passing it to a thread
MAX_CHUNK_LENGTH = 50  # emails of a batch that one thread call builds
HTML_WEIGHT = 8  # inlining CSS and making a text takes longer than encoding
ATTACHMENT_OVERHEAD = 100  # counted for each attachment in addition to its content


class SubmissionService:
    """Queues emails. Create one service per application, so that concurrent callers share commits."""

    def __init__(self) -> None:
        self._threads = ThreadPool("submission", 1)  # one thread, because the work is CPU-bound and holds the GIL
        self._commits: GroupCommit[PreparedEmail, SubmissionResult] = GroupCommit(
            submit_emails, limits=GroupCommitLimits(size_of=_stored_size, row_of=_locked_row)
        )

    async def submit(self, new_email: NewEmail) -> SubmissionResult:
        """Queue an email. The email is committed when this method returns.

        Raises `EmailTooLarge`, `IdempotencyKeyReused`, `QuotaExceeded`, and `OperationalError` if the database takes too long.
        """
        now = datetime.now(UTC)
        if _size_of(new_email) < MAX_INLINE_SIZE:
            prepared = prepare_email(new_email, now=now)
        else:
            prepared = await self._threads.run(prepare_email, new_email, now=now)
        return await self._commits.run(prepared)

    async def submit_batch(
        self, new_emails: Sequence[NewEmail], *, idempotency: Idempotency | None = None
    ) -> list[SubmissionResult]:
        """Queue emails, all or none. They are committed when this method returns.

        Raises `BatchTooComplex`, and the same exceptions as `submit`.
        """
        now, budget = datetime.now(UTC), BuildBudget()
        prepared, size = list[PreparedEmail](), 0
        for chunk in _chunks(new_emails):  # one thread call per chunk, so that a large batch alternates with other emails
            prepared += await self._threads.run(_prepare_chunk, chunk, budget, first_index=len(prepared), now=now)
            size += sum(each.size for each in prepared[-len(chunk) :])
            if size > MAX_BATCH_BYTES:
                raise EmailTooLarge(f"The encoded emails of the batch have more than {MAX_BATCH_BYTES} bytes together.")
        return await run_in_transaction(submit_batch, prepared, idempotency=idempotency)

    def close(self) -> None:
        """Stop the thread."""
        self._threads.close()


def _chunks(new_emails: Sequence[NewEmail]) -> Iterator[list[NewEmail]]:
    chunk, size = list[NewEmail](), 0
    for each in new_emails:
        chunk.append(each)
        size += _size_of(each)
        if size >= MAX_INLINE_SIZE or len(chunk) == MAX_CHUNK_LENGTH:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _prepare_chunk(chunk: list[NewEmail], budget: BuildBudget, *, first_index: int, now: datetime) -> list[PreparedEmail]:
    prepared = []
    for index, each in enumerate(chunk, start=first_index):
        try:
            budget.count(each.draft)
            prepared.append(prepare_email(each, now=now))
        except (EmailTooLarge, BatchTooComplex) as error:
            raise type(error)(f"Email {index}: {error.detail}") from error
    return prepared


def _size_of(new_email: NewEmail) -> int:
    draft = new_email.draft
    files = sum(ATTACHMENT_OVERHEAD + len(attachment.content) for attachment in draft.attachments)
    return len(draft.text or "") + HTML_WEIGHT * len(draft.html or "") + files


def _stored_size(prepared: PreparedEmail) -> int:
    return prepared.size


def _locked_row(prepared: PreparedEmail) -> Hashable:
    """Return the key of the row that a concurrent transaction may have locked: the quota, or else the idempotency key."""
    if prepared.quota_key is not None:
        return prepared.quota_key
    return (prepared.email.owner, prepared.idempotency.key) if prepared.idempotency else None
