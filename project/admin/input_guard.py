"""What no page of the admin sends: refused before Django, whose lists believe it, asks the database for it."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, ValidationError
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

ALLOWED_LOOKUPS = ("__exact", "__isnull")  # what filters ask; `in`, `year` and `regex` fail on what they cannot read


class AdminInputGuardMiddleware(MiddlewareMixin):
    """Answers 400 to NUL, which no column holds, to a selection of what is no key, and to a lookup that no filter has."""

    def process_view(self, request: HttpRequest, view: Any, _args: Sequence[Any], _kwargs: dict[str, Any]) -> None:
        """Look at a request before its view does."""
        if "%00" in request.META["QUERY_STRING"] or any("\x00" in text for text in (request.path, *request.COOKIES.values())):
            raise BadRequest("The address, or a cookie, holds a NUL character.")
        model_admin = getattr(view, "model_admin", None)
        if isinstance(model_admin, ModelAdmin):
            _check_lookups(request)
            _check_selection(request, model_admin)


def _check_lookups(request: HttpRequest) -> None:
    if strangers := [name for name in request.GET if "__" in name and not name.endswith(ALLOWED_LOOKUPS)]:
        raise BadRequest(f"There is no filter {strangers[0]}.")


def _check_selection(request: HttpRequest, model_admin: "ModelAdmin[Any]") -> None:
    key = model_admin.opts.pk
    for text in request.POST.getlist(ACTION_CHECKBOX_NAME):
        try:
            key.run_validators(key.to_python(text))
        except ValidationError:
            raise BadRequest("What is selected is no row.") from None
        if "\x00" in text:
            raise BadRequest("What is selected holds a NUL character.")


class RestrictedLookupsAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list of rows that hold secrets: it answers to its own filters, or a secret could be guessed from what it leaves out."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Whether a filter of the list asks so."""
        return lookup.partition("__")[0] in self.list_filter
