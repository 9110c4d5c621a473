"""The suppression list in the admin: looked through, added to, taken from, and moved as CSV."""

from collections.abc import AsyncIterator
from contextlib import suppress as ignored
from tempfile import TemporaryFile
from typing import IO, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from project.accounts.models import User
from project.admin.changelist import KeysetAdmin
from project.emails.mime.email_addresses import normalize_address
from project.suppressions.csv import ImportResult, export_csv, import_csv
from project.suppressions.models import Suppression
from project.suppressions.store import SuppressionNotFound, remove, suppress

MAX_SHOWN_ERRORS = 20
CHUNK_BYTES = 64 * 1024


class SuppressionForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """An address, and why it gets no mail."""

    class Meta:
        model = Suppression
        fields = ("address", "reason")
        widgets = {"reason": forms.TextInput(attrs={"class": "vTextField"})}

    def clean_address(self) -> str:
        """In the form that the list is kept in."""
        try:
            return normalize_address(self.cleaned_data["address"].strip()).lower()
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class ImportForm(forms.Form):
    """The file to be imported."""

    file = forms.FileField(label="CSV file", help_text="UTF-8, a line each: address,reason. A header is not needed.")


@admin.register(Suppression)
class SuppressionAdmin(KeysetAdmin):
    """Addresses that get no mail."""

    form = SuppressionForm
    change_list_template = "admin/suppressions/suppression/suppression_list.html"
    list_display = ("address", "reason", "created_at", "shown_by")
    ordering = ("pk",)
    search_fields = ("address",)
    search_help_text = "How the address begins."

    def get_readonly_fields(self, request: HttpRequest, obj: Suppression | None = None) -> tuple[str, ...]:
        """What one is cannot be changed, only why it is here."""
        return ("address", "created_at", "shown_by") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Suppression | None = None) -> tuple[str, ...]:
        """What there is to see."""
        return ("address", "reason", "created_at", "shown_by") if obj else ("address", "reason")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """By how it begins, along the index."""
        start = search_term.strip().lower()
        if not start:
            return queryset, False
        if connection.vendor == "sqlite":  # it uses no index for Django's LIKE
            return queryset.filter(address__gte=start, address__lt=f"{start}\U0010ffff"), False
        return queryset.filter(address__startswith=start), False

    @admin.display(description="e-mail", empty_value="")
    def shown_by(self, suppression: Suppression) -> str:
        """The mail that showed it."""
        if suppression.email_id is None:
            return ""
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:emails_email_change", args=[suppression.email_id]), suppression.email_id
        )

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        """As the API does."""
        suppress(obj.address, reason=obj.reason, email_id=obj.email_id, now=timezone.now())

    def delete_model(self, request: HttpRequest, obj: Suppression) -> None:
        """As the API does; that somebody else was faster is as well."""
        with ignored(SuppressionNotFound):
            remove(obj.address)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> None:
        """Each as one."""
        for suppression in queryset:
            self.delete_model(request, suppression)

    def get_urls(self) -> list[URLPattern]:
        """With those of the files."""
        own = [
            path("import/", self.admin_site.admin_view(self.import_view), name="suppressions_suppression_import"),
            path("export/", self.admin_site.admin_view(self.export_view), name="suppressions_suppression_export"),
        ]
        return own + super().get_urls()

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a file, or take it and tell what came of it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
        if not form.is_valid():
            context = {**self.admin_site.each_context(request), "title": "Import suppressions", "form": form, "opts": self.opts}
            return TemplateResponse(request, "admin/suppressions/suppression/import.html", context | {"media": self.media})
        file: UploadedFile[Any] = form.cleaned_data["file"]
        self.tell(request, self.import_file(request, file))
        return HttpResponseRedirect(reverse("admin:suppressions_suppression_changelist"))

    def import_file(self, request: HttpRequest, file: "UploadedFile[Any]") -> ImportResult:
        """Take a file, and write down who brought it: one entry, since a file may have a hundred thousand lines."""
        imported = import_csv(file, now=timezone.now())
        if imported.taken:
            LogEntry.objects.create(
                user=cast("User", request.user),
                content_type=ContentType.objects.get_for_model(Suppression),
                object_repr="A CSV file",
                action_flag=ADDITION,
                change_message=f"Imported {imported.taken} addresses.",
            )
        return imported

    def tell(self, request: HttpRequest, imported: ImportResult) -> None:
        """What came of a file."""
        self.message_user(request, f"Imported {imported.taken} addresses.", messages.SUCCESS)
        for line in imported.bad[:MAX_SHOWN_ERRORS]:
            self.message_user(request, f"Line {line.number}: {line.reason}", messages.WARNING)
        if (more := len(imported.bad) - MAX_SHOWN_ERRORS) > 0:
            self.message_user(request, f"{more} more lines were not taken.", messages.WARNING)

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """All of it, as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        # By way of a file: a slow reader must not keep the database waiting, and the list may be longer than memory is good for.
        file = TemporaryFile()  # noqa: SIM115  # closed with the response
        file.writelines(line.encode() for line in export_csv())
        file.seek(0)
        response = StreamingHttpResponse(_FileChunks(file), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="suppressions.csv"'
        return response


class _FileChunks:
    """A file as Django's asynchronous responses take it: a plain iterator, they would read to its end first."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := self._file.read(CHUNK_BYTES):
            yield piece

    def close(self) -> None:
        self._file.close()
