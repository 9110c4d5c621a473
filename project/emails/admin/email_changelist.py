"""The rows of the list of emails: which conditions its filters and its search are, and how many emails match."""

from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import QuerySet
from django.http import HttpRequest

from project.accounts.models import User
from project.admin.changelist import Count, Criteria, KeysetChangeList, unindexed_conditions
from project.api_keys.models import ApiKey
from project.bridge.database.conditions import EVERYTHING, Condition, ensure_index
from project.emails.admin.filters import (
    DayFilter,
    OwnerFilter,
    PriorityFilter,
    ReasonFilter,
    StatusFilter,
    TagFilter,
    parse_tag,
)
from project.emails.mime.email_addresses import normalize_address
from project.emails.models import Email
from project.emails.search import EMAIL_SEARCH
from project.emails.selectors import EmailFilter
from project.emails.status import Status

MAX_COUNTED_EMAILS = 10_000  # the number of matching emails is shown up to this number


class EmailChangeList(KeysetChangeList):
    """The list of emails, with the names of their owners."""

    @cached_property
    def result_label(self) -> Count | None:
        """Return the number of matching emails, for the link that selects all of them, or None if there is only one page."""
        return self.criteria.count(MAX_COUNTED_EMAILS) if self.next_page or self.first_page else None

    def get_results(self, request: HttpRequest) -> None:
        """Read the page's emails, and add `owner_name` to each."""
        super().get_results(request)
        names = owner_names({email.owner for email in self.result_list})
        for email in self.result_list:
            email.owner_name = names.get(email.owner, email.owner)


def email_criteria(changelist: KeysetChangeList) -> Criteria:
    """Return the conditions of the chosen filters and of the search."""
    specs: dict[type, Any] = {type(spec): spec for spec in changelist.filter_specs}
    status, priority, owner = (specs[each] for each in (StatusFilter, PriorityFilter, OwnerFilter))
    reason, day, tag = (specs[each].value() or None for each in (ReasonFilter, DayFilter, TagFilter))
    try:
        limits = specs[DayFilter].limits(day) if day else EVERYTHING
        chosen = EmailFilter(
            status=None if status.is_partly_sent or status.value() is None else Status(status.value()),
            tag=parse_tag(tag) if tag else None,
            reason=reason,
            priority=priority.priority,
        )
    except ValueError:
        return Criteria([[Condition(Email.objects.none())]])
    conditions = chosen.conditions(owner.owner)
    if status.is_partly_sent:
        conditions.append(Condition(Email.objects.filter(status=Status.SENT, reason__isnull=False)))
    conditions += unindexed_conditions(changelist, [SEARCH_VAR, *(spec.parameter_name for spec in specs.values())])
    alternatives = search_conditions(changelist.query)
    return Criteria([ensure_index([*each, *conditions], Email.objects.all()) for each in alternatives], limits)


def search(emails: QuerySet[Email], text: str) -> QuerySet[Email]:
    """Return the emails that match the text of the search field: an id, a Message-ID, words or the beginning of an address."""
    term = _search_term(text)
    if not term:
        return emails
    email_id = parse_email_id(term)
    return EMAIL_SEARCH.match(emails, normalize_domain(term)) if email_id is None else emails.filter(pk=email_id)


def search_conditions(text: str) -> list[list[Condition]]:
    """Return alternatives: an email matches the text if it fulfills all conditions of one of them."""
    term = _search_term(text)
    if not term:
        return [[]]
    if (email_id := parse_email_id(term)) is not None:
        return [[Condition(Email.objects.filter(pk=email_id))]]
    return EMAIL_SEARCH.conditions(normalize_domain(term))


def _search_term(text: str) -> str:
    return text.strip().strip("<>")


def normalize_domain(term: str) -> str:
    """Return a complete address in the form of stored recipients, with the domain in ASCII. Return other terms unchanged."""
    with suppress(ValueError):
        return normalize_address(term)
    return term


def parse_email_id(term: str) -> UUID | None:
    """Parse an email id, or the email id in a Message-ID `id@domain`. Return None for other terms."""
    try:
        return UUID(term.partition("@")[0])
    except ValueError:
        return None


def owner_names(owners: Iterable[str]) -> dict[str, str]:
    """Return the names of API keys and users by owner id (`key:1`, `user:1`)."""
    pks: dict[str, list[int]] = {"key": [], "user": []}
    for owner in owners:
        kind, _, pk = owner.partition(":")
        if kind in pks and pk.isdecimal():
            pks[kind].append(int(pk))
    keys = ApiKey.objects.filter(pk__in=pks["key"]).values_list("pk", "name")
    users = User.objects.filter(pk__in=pks["user"]).values_list("pk", "username")
    return {f"key:{pk}": name for pk, name in keys} | {f"user:{pk}": name for pk, name in users}
