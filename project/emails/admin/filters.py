"""Filters of the list of emails. Each filter uses an index."""

from datetime import date, datetime, time, timedelta
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
from project.bridge.database.conditions import Range
from project.emails.ids import first_id_at
from project.emails.models import Email
from project.emails.priority import Priority
from project.emails.selectors import with_priority
from project.emails.status import Status
from project.emails.top_reasons import top_reasons

Choices = list[tuple[str, str]]
PARTLY_SENT = "partly-sent"


class StatusFilter(admin.SimpleListFilter):
    """Filter by status."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return all statuses, and the name of emails that were not sent to all recipients."""
        return [*((status.value, status.value) for status in Status), (PARTLY_SENT, "sent, but not to all")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Return the emails with the chosen status."""
        status = self.value()
        if status == PARTLY_SENT:
            return queryset.filter(status=Status.SENT, reason__isnull=False)
        return queryset if status is None else queryset.filter(status=status)

    @property
    def is_partly_sent(self) -> bool:
        """Return whether emails were chosen that were not sent to all recipients."""
        return self.value() == PARTLY_SENT


class PriorityFilter(admin.SimpleListFilter):
    """Filter by priority."""

    title = "priority"
    parameter_name = "priority"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return all priorities."""
        return [(priority.value, priority.value) for priority in Priority]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Return the emails with the chosen priority."""
        return queryset if self.priority is None else with_priority(queryset, self.priority)

    @property
    def priority(self) -> Priority | None:
        """Return the chosen priority. Another value is ignored."""
        return next((priority for priority in Priority if priority == self.value()), None)


class OwnerFilter(admin.SimpleListFilter):
    """Filter by owner: an API key or a user."""

    title = "API key or user"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the API keys, then the staff users."""
        keys = [(f"key:{pk}", name) for pk, name in ApiKey.objects.order_by("name").values_list("pk", "name")]
        users = User.objects.filter(is_staff=True).order_by("username").values_list("pk", "username")
        return [*keys, *((f"user:{pk}", name) for pk, name in users), ("none", "No owner")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Return the emails of the chosen owner, or the emails without an owner."""
        return queryset if self.owner is None else queryset.filter(owner=self.owner)

    @property
    def owner(self) -> str | None:
        """Return the id of the chosen owner. It is empty for emails without an owner."""
        return "" if self.value() == "none" else self.value()


class InputFilter(admin.SimpleListFilter):
    """Base filter with a text field, in addition to choices. Subclasses implement `filter_by`."""

    template = "admin/emails/filter_with_input.html"
    input_type = "text"
    placeholder = ""
    error_message = ""

    def __init__(self, request: HttpRequest, params: dict[str, list[str]], model: type[Model], model_admin: ModelAdmin) -> None:  # type: ignore[type-arg]  # not generic at run time
        super().__init__(request, params, model, model_admin)
        replaced = {self.parameter_name, AFTER_PARAMETER, "e", "p"}
        self.other_parameters = [pair for pair in request.GET.items() if pair[0] not in replaced]  # hidden fields of the form

    def has_output(self) -> bool:
        """Return True: the text field is always shown."""
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return no choices by default."""
        return []

    def typed(self) -> str:
        """Return the value for the text field. It is empty if the selected value is one of the choices."""
        value = self.value() or ""
        return "" if value in dict(self.lookup_choices) else value

    def queryset(self, request: HttpRequest, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Return the matching emails. For an invalid value, show a warning and return no emails."""
        value = self.value()
        if not value:
            return queryset
        try:
            return self.filter_by(value, queryset)
        except ValueError:
            messages.warning(request, self.error_message)
            return queryset.none()

    def filter_by(self, value: str, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Return the emails that match the value. Raises ValueError if the value is invalid."""
        raise NotImplementedError


class DayFilter(InputFilter):
    """Filter by day of submission. The query compares ids, because a UUIDv7 starts with the time."""

    title = "day"
    parameter_name = "day"
    input_type = "date"
    error_message = "Enter a day like 2026-12-01."

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the named ranges of days."""
        return [("today", "Today"), ("yesterday", "Yesterday"), ("week", "Past 7 days"), ("month", "This month")]

    def filter_by(self, value: str, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Return the emails that were submitted on the day or in the range that `value` names. Raises ValueError."""
        limits = self.limits(value)
        return queryset.filter(pk__gte=limits.up_to, pk__lt=limits.after)

    def limits(self, value: str) -> Range:
        """Return the limits of the ids of the day or range. Raises ValueError."""
        first, last = parse_day_range(value, today=timezone.localdate())
        return Range(first_id_after_day(last), first_id_of_day(first))


class TagFilter(InputFilter):
    """Filter by a tag's key and value."""

    title = "tag"
    parameter_name = "tag"
    placeholder = "order:42"
    error_message = "Enter a tag like order:42."

    def filter_by(self, value: str, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Return the emails with the tag `key:value`. Raises ValueError."""
        key, tag_value = parse_tag(value)
        return queryset.filter(tag__key=key, tag__value=tag_value)


class ReasonFilter(InputFilter):
    """Filter by the reason of the last failure."""

    title = "reason"
    parameter_name = "reason"
    placeholder = "550 5.1.1 …: No such user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        """Return the most frequent reasons of recent failures."""
        return [(each.reason, f"{each.reason} ({each.label})") for each in top_reasons()]

    def filter_by(self, value: str, queryset: QuerySet[Email]) -> QuerySet[Email]:
        """Return the emails with this reason."""
        return queryset.filter(reason=value)


def parse_tag(text: str) -> tuple[str, str]:
    """Return the key and the value of a tag. Raises ValueError."""
    key, colon, value = text.strip().partition(":")
    if not colon:
        raise ValueError(text)
    return key, value


def parse_day_range(name: str, *, today: date) -> tuple[date, date]:
    """Return the first and the last day of a named range, an ISO date, or two ISO dates with ".." between. Raises ValueError."""
    first, dots, last = name.partition("..")
    if dots:
        return date.fromisoformat(first), date.fromisoformat(last)
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
    """Return the smallest UUIDv7 of the next day, or the largest UUID if `day` is the last possible day."""
    return first_id_of_day(day + timedelta(days=1)) if day < date.max else UUID(int=2**128 - 1)


def first_id_of_day(day: date) -> UUID:
    """Return the smallest UUIDv7 of the day."""
    return first_id_at(timezone.make_aware(datetime.combine(day, time.min)))
