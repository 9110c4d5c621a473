"""Admin of the suppression list: search, add, remove, import and export as CSV."""

from collections.abc import AsyncIterator
from contextlib import suppress as ignore
from tempfile import TemporaryFile
from typing import IO, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from project.accounts.models import User
from project.admin.changelist import Criteria, KeysetAdmin, KeysetChangeList, unindexed_conditions
from project.admin.input_validation import DisplayedTextAdmin
from project.bridge.database.conditions import Condition, Range
from project.emails.mime.email_addresses import normalize_address
from project.emails.search import begins_with
from project.suppressions.csv import ImportResult, export_csv, import_csv
from project.suppressions.models import Suppression
from project.suppressions.store import SuppressionNotFound, beginning_with, remove, remove_beginning_with, suppress

MAX_SHOWN_ERRORS = 20
MAX_REMOVED = 50_000  # addresses in one request
CHUNK_BYTES = 64 * 1024


class SuppressionForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Form for an email address and the reason why it is suppressed."""

    class Meta:
        model = Suppression
        fields = ("address", "reason")
        widgets = {"reason": forms.TextInput(attrs={"class": "vTextField"})}

    def clean_address(self) -> str:
        """Return the normalized address. Raises `ValidationError` if it is invalid."""
        try:
            return normalize_address(self.cleaned_data["address"].strip()).lower()
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class ImportForm(forms.Form):
    """Form for the CSV file to import."""

    file = forms.FileField(
        label="CSV file", help_text="UTF-8, one address,reason per line. Semicolons and tabs work too. A header is optional."
    )


@admin.register(Suppression)
class SuppressionAdmin(DisplayedTextAdmin, KeysetAdmin):
    """Admin of the suppression list."""

    form = SuppressionForm
    change_list_template = "admin/suppressions/suppression/suppression_list.html"
    list_display = ("address", "reason", "created_at", "email_link")
    ordering = ("pk",)
    search_fields = ("address",)
    search_help_text = "Search by the beginning of the address."

    def get_readonly_fields(self, request: HttpRequest, obj: Suppression | None = None) -> tuple[str, ...]:
        """Make all fields of an existing entry read-only, except the reason."""
        return ("address", "created_at", "email_link") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Suppression | None = None) -> tuple[str, ...]:
        """Return the fields of the form."""
        return ("address", "reason", "created_at", "email_link") if obj else ("address", "reason")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Search by prefix, so that the query uses the index."""
        prefix = search_term.strip().lower()
        return queryset.filter(begins_with("address", prefix)) if prefix else queryset, False

    def get_criteria(self, changelist: KeysetChangeList) -> Criteria:
        """Read the list along the index of the addresses, also with a search."""
        matching = Condition(beginning_with(changelist.query.strip().lower()))
        return Criteria([[matching, *unindexed_conditions(changelist, [SEARCH_VAR])]], Range(ascending=True))

    @admin.display(description="email", empty_value="")
    def email_link(self, suppression: Suppression) -> str:
        """Return a link to the email that bounced."""
        if suppression.email_id is None:
            return ""
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:emails_email_change", args=[suppression.email_id]), suppression.email_id
        )

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        """Save the entry as the API does."""
        suppress(obj.address, reason=obj.reason, email_id=obj.email_id, now=timezone.now())

    def delete_model(self, request: HttpRequest, obj: Suppression) -> None:
        """Remove the entry as the API does. Does nothing if another user has already removed it."""
        with ignore(SuppressionNotFound), transaction.atomic():
            remove(obj.address)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> None:
        """Remove entries one by one, each in its own transaction."""
        for suppression in queryset:
            self.delete_model(request, suppression)

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of import and export."""
        own = [
            path("import/", self.admin_site.admin_view(self.import_view), name="suppressions_suppression_import"),
            path("remove/", self.admin_site.admin_view(self.remove_view), name="suppressions_suppression_remove"),
            path("export/", self.admin_site.admin_view(self.export_view), name="suppressions_suppression_export"),
        ]
        return own + super().get_urls()

    def remove_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whether to remove all entries that match the search. If that was confirmed, remove them."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        prefix = request.GET.get("q", "").strip().lower()
        if request.method != "POST":
            context = {"title": "Remove suppressions", "prefix": prefix, "matched": beginning_with(prefix).count()}
            page = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, **context}
            return TemplateResponse(request, "admin/suppressions/suppression/remove.html", page)
        removed = remove_beginning_with(prefix, limit=MAX_REMOVED)
        message = f"Removed {removed:,} suppression{pluralize(removed)}."
        if removed == MAX_REMOVED and (left := beginning_with(prefix).count()):
            message += f" {left:,} more match: remove them in the same way."
        self.message_user(request, message, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:suppressions_suppression_changelist"))

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Show the import form, or import the uploaded file."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
        if not form.is_valid():
            context = {**self.admin_site.each_context(request), "title": "Import suppressions", "form": form, "opts": self.opts}
            return TemplateResponse(request, "admin/suppressions/suppression/import.html", context | {"media": self.media})
        file: UploadedFile[Any] = form.cleaned_data["file"]
        self.report_import(request, self.import_file(request, file))
        return HttpResponseRedirect(reverse("admin:suppressions_suppression_changelist"))

    def import_file(self, request: HttpRequest, file: "UploadedFile[Any]") -> ImportResult:
        """Import a file. Write a single log entry, because a file may have a hundred thousand lines."""
        result = import_csv(file, now=timezone.now())
        if result.imported:
            LogEntry.objects.create(
                user=cast("User", request.user),
                content_type=ContentType.objects.get_for_model(Suppression),
                object_repr="CSV file",
                action_flag=ADDITION,
                change_message=_summary(result),
            )
        return result

    def report_import(self, request: HttpRequest, result: ImportResult) -> None:
        """Show what was imported, and the first lines that were skipped."""
        self.message_user(request, _summary(result), messages.SUCCESS)
        for line in result.invalid[:MAX_SHOWN_ERRORS]:
            self.message_user(request, f"Skipped line {line.number}: {line.reason}", messages.WARNING)
        if (more := len(result.invalid) - MAX_SHOWN_ERRORS) > 0:
            self.message_user(request, f"Skipped {more} more line{pluralize(more)}.", messages.WARNING)

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """Return the whole list as a CSV file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        # A temporary file, because a slow download must not keep a database query open, and the list may not fit into memory.
        file = TemporaryFile()  # noqa: SIM115  # closed with the response
        file.writelines(line.encode() for line in export_csv())
        file.seek(0)
        response = StreamingHttpResponse(_FileChunks(file), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="suppressions.csv"'
        return response


def _summary(result: ImportResult) -> str:
    return f"Imported {result.imported} address{pluralize(result.imported, 'es')}."


class _FileChunks:
    """An asynchronous iterator over a file. Under ASGI, Django would read a plain iterator completely before it sends data."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := self._file.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        self._file.close()
