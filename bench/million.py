"""Fill the tables with a month of emails: most sent, some failed, a few in progress. Needs `django.setup()`."""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import connection, models, transaction

from project.emails.models import Email, RawMessage, Recipient, Tag
from project.emails.status import Status
from project.events.models import Event

CHUNK = 10_000  # emails per transaction
MONTH = timedelta(days=30)
KEYS = 5
COMMON_KEY, RARE_KEY = "key:1", "key:9"  # owners of a fifth of all emails, and of ten emails
COMMON_ADDRESS = "ops@example.com"  # recipient of a twentieth of all emails
COMMON_TAG = ("kind", "receipt")  # tag of half of all emails
FEW = 10  # number of rare rows, the same for every database size, so that pages have equal sizes
QUEUED = 100  # number of the newest emails, which are queued; the same for every database size
FINAL_SHARES = {Status.FAILED: 2, Status.BOUNCED: 1, Status.CANCELED: 1, Status.SUPPRESSED: 1}  # number in every hundred emails
EVENT_DATA = {"to": ["ada@example.com"], "subject": "Your order", "tags": {}}
RAW_MESSAGE = b"From: shop@example.com\r\nTo: ada@example.com\r\nSubject: Your order\r\n\r\n" + b"It is on its way.\r\n" * 12


@dataclass(frozen=True)
class SampleEmail:
    """Email `number` of `total`. The oldest email has number 0."""

    number: int
    total: int
    start: datetime

    @cached_property
    def created_at(self) -> datetime:
        """Return the time of creation. The times of all emails are spread evenly over the month."""
        return self.start + MONTH * (self.number / self.total)

    @cached_property
    def id(self) -> UUID:
        """Return a UUIDv7 (RFC 9562 section 5.7) for the time of creation."""
        milliseconds = int(self.created_at.timestamp() * 1000)
        return UUID(int=milliseconds << 80 | 7 << 76 | self.number % 4096 << 64 | 2 << 62 | random.getrandbits(62))

    @cached_property
    def status(self) -> Status:
        """Return the status."""
        if self.number >= self.total - QUEUED:
            return Status.QUEUED
        if self.group in (60, 61):
            return Status.SCHEDULED if self.group == 60 else Status.DELAYED
        ends = [status for status, share in FINAL_SHARES.items() for _ in range(share)]
        return ends[self.number % 100] if self.number % 100 < len(ends) else Status.SENT

    @cached_property
    def owner(self) -> str:
        """Return the owner."""
        return RARE_KEY if self.group == 50 else f"key:{1 + self.number // 100 % KEYS}"

    @cached_property
    def address(self) -> str:
        """Return the recipient. A twentieth of all emails share one address, and each other address has at most ten emails."""
        return COMMON_ADDRESS if self.number % 20 == 0 else f"user{self.group}@example.com"

    @cached_property
    def group(self) -> int:
        """Return the number of the email's group. A group has ten emails, which are spread over the month."""
        return self.number % (self.total // FEW)

    @cached_property
    def tags(self) -> dict[str, str]:
        """Return two tags. Ten emails share the first tag. The second tag has only two values."""
        return {"order": str(self.group), "kind": "receipt" if self.number // 2 % 2 else "reminder"}


class Rows:
    """Rows of one table, with defaults from a sample instance of its model."""

    def __init__(self, sample: models.Model) -> None:
        self.model = type(sample)
        self.fields = [field for field in self.model._meta.local_concrete_fields if not isinstance(field, models.AutoField)]
        self.common = {field.attname: self._to_db(field, getattr(sample, field.attname)) for field in self.fields}
        self.rows: list[Sequence[Any]] = []
        self._by_name = {field.attname: field for field in self.fields}

    def add(self, **values: Any) -> None:
        """Add a row."""
        prepared = {name: self._to_db(self._by_name[name], value) for name, value in values.items()}
        self.rows.append(tuple((self.common | prepared).values()))

    def store(self) -> None:
        """Insert the rows and clear them."""
        quote = connection.ops.quote_name
        columns = ", ".join(quote(str(field.column)) for field in self.fields)
        places = ", ".join(["%s"] * len(self.fields))
        with connection.cursor() as cursor:
            table = quote(self.model._meta.db_table)
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", self.rows)  # noqa: S608
        self.rows.clear()

    @staticmethod
    def _to_db(field: Any, value: Any) -> Any:
        return field.get_db_prep_save(value, connection)


def fill(total: int) -> None:
    """Store this many emails."""
    start = datetime.now(UTC) - MONTH
    tables = _tables()
    for begin in range(0, total, CHUNK):
        for email in (SampleEmail(number, total, start) for number in range(begin, min(begin + CHUNK, total))):
            _add(email, tables)
        with transaction.atomic():
            for rows in tables.values():
                rows.store()
        print(f"\r  {min(begin + CHUNK, total):,} of {total:,} emails", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _tables() -> dict[str, Rows]:
    body = {"subject": "Your order", "text": "It is on its way. " * 12, "html": "<p>It is on its way.</p>" * 12}
    email = Email(sender="Shop <shop@example.com>", recipients=[], message_id="<1@example.com>", attempts=1, **body)
    return {
        "email": Rows(email),
        "source": Rows(RawMessage(email=email, content=RAW_MESSAGE)),
        "recipient": Rows(Recipient(email=email)),
        "tag": Rows(Tag(email=email)),
        "event": Rows(Event(email=email, type="", data=EVENT_DATA)),
    }


def _add(email: SampleEmail, tables: dict[str, Rows]) -> None:
    tables["email"].add(
        id=email.id,
        owner=email.owner,
        created_at=email.created_at,
        status=email.status,
        to=[email.address],
        recipients=[email.address],
        tags=email.tags,
        sent_at=email.created_at if email.status == Status.SENT else None,
        next_attempt_at=email.start + 2 * MONTH if email.status in (Status.SCHEDULED, Status.DELAYED) else None,
    )
    tables["source"].add(email_id=email.id)
    tables["recipient"].add(address=email.address, email_id=email.id, owner=email.owner)
    for key, value in email.tags.items():
        tables["tag"].add(key=key, value=value, email_id=email.id, owner=email.owner)
    for status in _history(email.status):
        data = EVENT_DATA | {"email_id": str(email.id), "status": status}
        tables["event"].add(email_id=email.id, owner=email.owner, type=f"email.{status}", created_at=email.created_at, data=data)


def _history(status: Status) -> Iterator[Status]:
    yield Status.QUEUED
    if status in (Status.SENT, Status.FAILED, Status.BOUNCED, Status.DELAYED):
        yield Status.SENDING
    if status != Status.QUEUED:
        yield status
