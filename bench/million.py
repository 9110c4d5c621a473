"""Tables that look as if Mailrail had run for a month: mostly sent, some failed, few under way. Needs Django to be set up."""

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

CHUNK = 10_000  # mails in one go
MONTH = timedelta(days=30)
KEYS = 5
COMMON_KEY, RARE_KEY = "key:1", "key:9"  # a fifth of all mail, and ten mails
COMMON_ADDRESS = "ops@example.com"  # a twentieth of all mail
COMMON_TAG = ("kind", "receipt")  # every second mail
FEW = 10  # of what is rare: as many at any size, so that a page holds as many rows
QUEUED = 100  # as many at any size: the newest
ENDS = {Status.FAILED: 2, Status.BOUNCED: 1, Status.CANCELED: 1, Status.SUPPRESSED: 1}  # of a hundred
SOURCE = b"From: shop@example.com\r\nTo: ada@example.com\r\nSubject: Your order\r\n\r\n" + b"It is on its way.\r\n" * 12


@dataclass(frozen=True)
class Mail:
    """One of `total`, counted from 0, the oldest first."""

    number: int
    total: int
    began: datetime

    @cached_property
    def created_at(self) -> datetime:
        """Evenly over the month."""
        return self.began + MONTH * (self.number / self.total)

    @cached_property
    def id(self) -> UUID:
        """A UUIDv7 (RFC 9562 section 5.7) of that time."""
        milliseconds = int(self.created_at.timestamp() * 1000)
        return UUID(int=milliseconds << 80 | 7 << 76 | self.number % 4096 << 64 | 2 << 62 | random.getrandbits(62))

    @cached_property
    def status(self) -> Status:
        """What became of it."""
        if self.number >= self.total - QUEUED:
            return Status.QUEUED
        if self.group in (60, 61):
            return Status.SCHEDULED if self.group == 60 else Status.DELAYED
        ends = [status for status, share in ENDS.items() for _ in range(share)]
        return ends[self.number % 100] if self.number % 100 < len(ends) else Status.SENT

    @cached_property
    def caller(self) -> str:
        """Whose it is."""
        return RARE_KEY if self.group == 50 else f"key:{1 + self.number // 100 % KEYS}"

    @cached_property
    def address(self) -> str:
        """A twentieth goes to one address; of the others each has ten mails."""
        return COMMON_ADDRESS if self.number % 20 == 0 else f"user{self.group}@example.com"

    @cached_property
    def group(self) -> int:
        """Ten mails have the same, scattered over the month."""
        return self.number % (self.total // FEW)

    @cached_property
    def tags(self) -> dict[str, str]:
        """One that ten mails have, and one that every second has."""
        return {"order": str(self.group), "kind": "receipt" if self.number // 2 % 2 else "reminder"}


class Rows:
    """Rows of one table, made from one instance of its model: what is not said of a row is as it is there."""

    def __init__(self, sample: models.Model) -> None:
        self.model = type(sample)
        self.fields = [field for field in self.model._meta.local_concrete_fields if not isinstance(field, models.AutoField)]
        self.common = {field.attname: self._prepared(field, getattr(sample, field.attname)) for field in self.fields}
        self.rows: list[Sequence[Any]] = []
        self._by_name = {field.attname: field for field in self.fields}

    def add(self, **values: Any) -> None:
        """One more."""
        prepared = {name: self._prepared(self._by_name[name], value) for name, value in values.items()}
        self.rows.append(tuple((self.common | prepared).values()))

    def store(self) -> None:
        """Write them, and begin anew."""
        quote = connection.ops.quote_name
        columns = ", ".join(quote(str(field.column)) for field in self.fields)
        places = ", ".join(["%s"] * len(self.fields))
        with connection.cursor() as cursor:
            table = quote(self.model._meta.db_table)
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", self.rows)  # noqa: S608
        self.rows.clear()

    @staticmethod
    def _prepared(field: Any, value: Any) -> Any:
        return field.get_db_prep_save(value, connection)


def fill(total: int) -> None:
    """Store so many mails."""
    began = datetime.now(UTC) - MONTH
    tables = _tables()
    for begin in range(0, total, CHUNK):
        for mail in (Mail(number, total, began) for number in range(begin, min(begin + CHUNK, total))):
            _add(mail, tables)
        with transaction.atomic():
            for rows in tables.values():
                rows.store()
        print(f"\r  {min(begin + CHUNK, total):,} of {total:,} mails", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _tables() -> dict[str, Rows]:
    body = {"subject": "Your order", "text": "It is on its way. " * 12, "html": "<p>It is on its way.</p>" * 12}
    email = Email(sender="Shop <shop@example.com>", recipients=[], message_id="<1@example.com>", attempts=1, **body)
    data = {"email_id": str(email.id), "status": "sent", "to": ["ada@example.com"], "subject": "Your order", "tags": {}}
    return {
        "email": Rows(email),
        "source": Rows(RawMessage(email=email, content=SOURCE)),
        "recipient": Rows(Recipient(email=email)),
        "tag": Rows(Tag(email=email)),
        "event": Rows(Event(email=email, type="", data=data)),
    }


def _add(mail: Mail, tables: dict[str, Rows]) -> None:
    tables["email"].add(
        id=mail.id,
        owner=mail.caller,
        created_at=mail.created_at,
        status=mail.status,
        to=[mail.address],
        recipients=[mail.address],
        tags=mail.tags,
        sent_at=mail.created_at if mail.status == Status.SENT else None,
        next_attempt_at=mail.began + 2 * MONTH if mail.status in (Status.SCHEDULED, Status.DELAYED) else None,
    )
    tables["source"].add(email_id=mail.id)
    tables["recipient"].add(address=mail.address, email_id=mail.id)
    for key, value in mail.tags.items():
        tables["tag"].add(key=key, value=value, email_id=mail.id)
    for status in _history(mail.status):
        tables["event"].add(email_id=mail.id, owner=mail.caller, type=f"email.{status}", created_at=mail.created_at)


def _history(status: Status) -> Iterator[Status]:
    yield Status.QUEUED
    if status in (Status.SENT, Status.FAILED, Status.BOUNCED, Status.DELAYED):
        yield Status.SENDING
    if status != Status.QUEUED:
        yield status
