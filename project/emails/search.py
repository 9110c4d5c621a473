"""Search by the words of a subject and by the beginning of an address. Each search reads a bounded part of an index.

The rows of a word are in the order of the messages. The rows of a beginning are not: if there are few, all of them are read, and
their messages are looked up by id. If there are many, each message is checked, newest first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from project.bridge.database.conditions import Condition
from project.emails.models import Email, Recipient, SubjectWord
from project.emails.subject_words import split_words

MAX_ROWS = 5000  # rows of one beginning of an address that are read


@dataclass(frozen=True)
class Part:
    """One part of a search: the rows of the messages that match it. The rows of a word are in the order of the messages."""

    rows: QuerySet[Any]
    is_word: bool


@dataclass(frozen=True)
class Search:
    """Search in one kind of message. `message` is the column with the message's id in the rows of words and addresses."""

    messages: QuerySet[Any]
    message: str
    word: Callable[[str], QuerySet[Any]]  # the rows of a word
    address: Callable[[str], QuerySet[Any]]  # the rows of addresses with a beginning

    def match(self, messages: QuerySet[Any], text: str) -> QuerySet[Any]:
        """Return the messages that match all parts of the text.

        A single part without `@` may be a word of the subject or the beginning of an address.
        """
        alternatives = [reduce(lambda all_of, part: all_of & self._exists(part), each, Q()) for each in self._alternatives(text)]
        return messages.filter(reduce(or_, alternatives)) if alternatives else messages.none()

    def conditions(self, text: str) -> list[list[Condition]]:
        """Return alternatives: a message matches the text if it fulfills all conditions of one of them."""
        return [self._conditions(parts) for parts in self._alternatives(text)] or [[Condition(self.messages.none())]]

    def _alternatives(self, text: str) -> list[list[Part]]:
        parts = text.lower().split()
        if len(parts) == 1 and "@" not in parts[0]:
            return [*([self._word(each)] for each in split_words(text)[:1]), [self._address(parts[0])]]
        addresses = [self._address(part) for part in parts if "@" in part]
        words = split_words(" ".join(part for part in parts if "@" not in part))
        both = [*addresses, *(self._word(each) for each in words)]
        return [both] if both else []

    def _word(self, text: str) -> Part:
        return Part(self.word(text), is_word=True)

    def _address(self, text: str) -> Part:
        return Part(self.address(text), is_word=False)

    def _exists(self, part: Part) -> Q:
        return Q(Exists(part.rows.filter(**{self.message: OuterRef("pk")})))

    def _conditions(self, parts: Sequence[Part]) -> list[Condition]:
        few, conditions = list[set[Any]](), list[Condition]()
        for part in parts:
            ids = None if part.is_word else list(part.rows.values_list(self.message, flat=True)[: MAX_ROWS + 1])
            if ids is None or len(ids) > MAX_ROWS:
                conditions.append(Condition(part.rows, self.message, has_index=part.is_word))
            else:
                few.append(set(ids))
        listed = [Condition(self.messages.filter(pk__in=set.intersection(*few)))] if few else []
        return [*listed, *conditions]


def begins_with(field: str, prefix: str) -> Q:
    """Return the condition that a field begins with the prefix, in the form that uses an index."""
    if connection.vendor == "sqlite":  # SQLite uses no index for Django's LIKE
        return Q(**{f"{field}__gte": prefix, f"{field}__lt": f"{prefix}\U0010ffff"})
    return Q(**{f"{field}__startswith": prefix})


EMAIL_SEARCH = Search(
    Email.objects.all(),
    "email_id",
    word=lambda text: SubjectWord.objects.filter(word=text),
    address=lambda text: Recipient.objects.filter(begins_with("address", text)),
)
