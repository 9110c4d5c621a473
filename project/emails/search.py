"""Search by the words of a subject and by the beginning of an address. Each search reads a bounded part of an index.

If few rows match a condition, all of them are read, and their messages are looked up by id. If many rows match, the condition is
checked message by message, newest first, because a page of matching messages is then found soon.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from project.emails.models import Email, Recipient, SubjectWord
from project.emails.subject_words import split_words

MAX_ROWS = 5000  # rows of one condition that are read


@dataclass(frozen=True)
class Condition:
    """Rows that belong to matching messages. `message` is the name of the column with the message's id."""

    rows: QuerySet[Any]
    message: str

    def ids(self) -> list[Any] | None:
        """Return the ids of all matching messages, or None if there are more than `MAX_ROWS` rows."""
        ids = list(self.rows.values_list(self.message, flat=True)[: MAX_ROWS + 1])
        return ids if len(ids) <= MAX_ROWS else None

    def exists(self) -> Exists:
        """Return the condition that a message has a matching row."""
        return Exists(self.rows.filter(**{self.message: OuterRef("pk")}))


def search_emails(emails: QuerySet[Email], text: str) -> QuerySet[Email]:
    """Return the emails that match all parts of the text: words of the subject, and beginnings of recipients' addresses.

    A single part without `@` may be a word of the subject or the beginning of an address.
    """

    def word(text: str) -> Condition:
        return Condition(SubjectWord.objects.filter(word=text), "email_id")

    def address(text: str) -> Condition:
        return Condition(Recipient.objects.filter(begins_with("address", text)), "email_id")

    return match(emails, text, word=word, address=address)


def match(messages: QuerySet[Any], text: str, *, word: Any, address: Any) -> QuerySet[Any]:
    """Return the messages that match all parts of the text. `word` and `address` return the condition for one part."""
    parts = text.lower().split()
    if len(parts) == 1 and "@" not in parts[0]:
        return _match_any(messages, [*(word(each) for each in split_words(text)[:1]), address(parts[0])])
    conditions = [address(part) for part in parts if "@" in part]
    conditions += [word(each) for each in split_words(" ".join(part for part in parts if "@" not in part))]
    return _match_all(messages, conditions)


def begins_with(field: str, prefix: str) -> Q:
    """Return the condition that a field begins with the prefix, in the form that uses an index."""
    if connection.vendor == "sqlite":  # SQLite uses no index for Django's LIKE
        return Q(**{f"{field}__gte": prefix, f"{field}__lt": f"{prefix}\U0010ffff"})
    return Q(**{f"{field}__startswith": prefix})


def _match_any(messages: QuerySet[Any], conditions: Sequence[Condition]) -> QuerySet[Any]:
    found = [(condition, condition.ids()) for condition in conditions]
    few = [message_id for _, ids in found for message_id in ids or ()]
    many = [Q(condition.exists()) for condition, ids in found if ids is None]
    return messages.filter(reduce(or_, many, Q(pk__in=few)))


def _match_all(messages: QuerySet[Any], conditions: Sequence[Condition]) -> QuerySet[Any]:
    if not conditions:
        return messages.none()
    found = [(condition, condition.ids()) for condition in conditions]
    few = [set(ids) for _, ids in found if ids is not None]
    if few:
        messages = messages.filter(pk__in=set.intersection(*few))
    for condition, ids in found:
        if ids is None:
            messages = messages.filter(condition.exists())
    return messages
