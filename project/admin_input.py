"""What no page of the admin sends: refused before Django, whose lists believe it, asks the database for it."""

from collections.abc import Sequence
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, ValidationError
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin

EQUALS = ("__exact", "__isnull")  # what filters ask; `in`, `year` and `regex` fail on what they cannot read


class AdminInput(MiddlewareMixin):
    """Answers 400 to NUL, which no column holds, to a selection of what is no key, and to a lookup that no filter has."""

    def process_view(self, request: HttpRequest, view: Any, _args: Sequence[Any], _kwargs: dict[str, Any]) -> None:
        """Look at a request before its view does."""
        if "%00" in request.META["QUERY_STRING"] or any("\x00" in text for text in (request.path, *request.COOKIES.values())):
            raise BadRequest("The address, or a cookie, holds a NUL character.")
        admin = getattr(view, "model_admin", None)
        if isinstance(admin, ModelAdmin):
            _check_lookups(request)
            _check_selection(request, admin)


def _check_lookups(request: HttpRequest) -> None:
    if strangers := [name for name in request.GET if "__" in name and not name.endswith(EQUALS)]:
        raise BadRequest(f"There is no filter {strangers[0]}.")


def _check_selection(request: HttpRequest, admin: "ModelAdmin[Any]") -> None:
    key = admin.opts.pk
    for text in request.POST.getlist(ACTION_CHECKBOX_NAME):
        try:
            key.run_validators(key.to_python(text))
        except ValidationError:
            raise BadRequest("What is selected is no row.") from None
        if "\x00" in text:
            raise BadRequest("What is selected holds a NUL character.")
