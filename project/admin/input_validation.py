"""Rejects malformed input to the admin, because Django would store it or pass it to the database unchecked."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, ValidationError
from django.db.models import Field
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

from project.config.displayed_text import reject_misleading_characters

ALLOWED_LOOKUPS = ("__exact", "__isnull")  # used by the admin's filters; `in`, `year` and `regex` raise for malformed values


class AdminInputValidationMiddleware(MiddlewareMixin):
    """Rejects NUL characters, which PostgreSQL cannot store, selections with invalid primary keys, and unknown filters."""

    def process_view(self, request: HttpRequest, view: Any, _args: Sequence[Any], _kwargs: dict[str, Any]) -> None:
        """Check the request. Raises `BadRequest`."""
        if "%00" in request.META["QUERY_STRING"] or any("\x00" in text for text in (request.path, *request.COOKIES.values())):
            raise BadRequest("The URL or a cookie contains a NUL character.")
        model_admin = getattr(view, "model_admin", None)
        if isinstance(model_admin, ModelAdmin):
            _check_lookups(request)
            _check_selection(request, model_admin)


def _check_lookups(request: HttpRequest) -> None:
    if unknown := [name for name in request.GET if "__" in name and not name.endswith(ALLOWED_LOOKUPS)]:
        raise BadRequest(f"Unknown filter: {unknown[0]}.")


def _check_selection(request: HttpRequest, model_admin: "ModelAdmin[Any]") -> None:
    primary_key = model_admin.opts.pk
    for text in request.POST.getlist(ACTION_CHECKBOX_NAME):
        try:
            primary_key.run_validators(primary_key.to_python(text))
        except ValidationError:
            raise BadRequest("The selection contains an invalid primary key.") from None
        if "\x00" in text:
            raise BadRequest("The selection contains a NUL character.")


class RestrictedLookupsAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Admin of rows with secrets. Only lookups of its own filters are allowed, so that users cannot find a secret by guessing."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Return whether the lookup belongs to one of the list's filters."""
        return lookup.partition("__")[0] in self.list_filter


class DisplayedTextAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Admin whose single-line text fields reject characters that could make a name look like another name."""

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> forms.Field | None:
        """Return Django's form field. A text field also checks its characters."""
        field: forms.Field | None = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(field, forms.CharField):
            field.validators = [*field.validators, validate_displayed_text]
        return field


def validate_displayed_text(text: str) -> None:
    """Raise `ValidationError` for text with characters that could make it look like other text."""
    try:
        reject_misleading_characters(text)
    except ValueError as error:
        raise ValidationError(str(error)) from error
