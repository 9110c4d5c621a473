"""By what the e-mails can be filtered: each by an index."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from project.accounts.models import User
from project.admin.changelist import AFTER_PARAMETER
from project.api_keys.models import ApiKey
from project.emails.models import Email
from project.emails.status import Status

Choices = list[tuple[str, str]]


class StatusFilter(admin.SimpleListFilter):
    """What became of it."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """All that there are."""
        return [(status.value, status.value) for status in Status]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Those of the status."""
        status = self.value()
        return queryset if status is None else queryset.filter(status=status)


class OwnerFilter(admin.SimpleListFilter):
    """Whose it is: a key's, or a person's."""

    title = "key"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """The keys, then the people."""
        keys = [(f"key:{pk}", name) for pk, name in ApiKey.objects.order_by("name").values_list("pk", "name")]
        users = User.objects.filter(is_staff=True).order_by("username").values_list("pk", "username")
        return [*keys, *((f"user:{pk}", name) for pk, name in users), ("none", "No key")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Those of the caller."""
        owner = self.value()
        if owner is None:
            return queryset
        return queryset.filter(owner="" if owner == "none" else owner)


class InputFilter(admin.SimpleListFilter):
    """A filter by what somebody types, not only by what there is to choose."""

    template = "admin/emails/filter_with_input.html"
    input_type = "text"
    placeholder = ""
    refusal = ""

    def __init__(self, request: HttpRequest, params: dict[str, list[str]], model: type[Model], model_admin: ModelAdmin) -> None:  # type: ignore[type-arg]  # not generic at run time
        super().__init__(request, params, model, model_admin)
        gone = {self.parameter_name, AFTER_PARAMETER, "e", "p"}
        self.others = [pair for pair in request.GET.items() if pair[0] not in gone]  # they stay when the form is sent

    def has_output(self) -> bool:
        """Always: there is the field."""
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Nothing to choose."""
        return []

    def typed(self) -> str:
        """What is in the field."""
        value = self.value() or ""
        return "" if value in dict(self.lookup_choices) else value

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Those that fit; none, and a word why, if it means nothing."""
        value = self.value()
        if not value:
            return queryset
        try:
            return self.fitting(queryset, value)
        except ValueError:
            messages.warning(request, self.refusal)
            return queryset.none()

    def fitting(self, queryset: QuerySet[Email], value: str) -> QuerySet[Email]:
        """Those that fit. Raises ValueError for what means nothing."""
        raise NotImplementedError


class DayFilter(InputFilter):
    """When it was accepted: by a range of ids, since a UUIDv7 begins with the time."""

    title = "day"
    parameter_name = "day"
    input_type = "date"
    refusal = "A day is written like 2026-12-01."

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """The usual ones."""
        return [("today", "Today"), ("yesterday", "Yesterday"), ("week", "Past 7 days"), ("month", "This month")]

    def fitting(self, queryset: QuerySet[Email], value: str) -> QuerySet[Email]:
        """Those of the days."""
        first, last = parse_day_range(value, today=timezone.localdate())
        return queryset.filter(pk__gte=first_id_of_day(first), pk__lt=first_id_after_day(last))


class TagFilter(InputFilter):
    """A tag, key and value."""

    title = "tag"
    parameter_name = "tag"
    placeholder = "order:42"
    refusal = "A tag is written like order:42."

    def fitting(self, queryset: QuerySet[Email], value: str) -> QuerySet[Email]:
        """Those that have it."""
        key, colon, wanted = value.strip().partition(":")
        if not colon:
            raise ValueError(value)
        return queryset.filter(tag__key=key, tag__value=wanted)


def parse_day_range(name: str, *, today: date) -> tuple[date, date]:
    """The first and the last day of a name, or of a date. Raises ValueError."""
    if name == "today":
        return today, today
    if name == "yesterday":
        return today - timedelta(days=1), today - timedelta(days=1)
    if name == "week":
        return today - timedelta(days=6), today
    if name == "month":
        return today.replace(day=1), today
    day = date.fromisoformat(name)
    return day, day


def first_id_after_day(day: date) -> UUID:
    """The least UUIDv7 that a later day can have."""
    return first_id_of_day(day + timedelta(days=1)) if day < date.max else UUID(int=2**128 - 1)


def first_id_of_day(day: date) -> UUID:
    """The least UUIDv7 that the day can have (RFC 9562, 5.7): milliseconds in its first 48 bits."""
    midnight = timezone.make_aware(datetime.combine(day, time.min))
    milliseconds = (midnight - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return UUID(int=max(milliseconds, 0) << 80)
