"""Admin of templates: edit, preview, and show earlier versions. Each edit creates a new version."""

import json
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from project.admin.html_safety import remove_frames
from project.emails.mime.headers import check_displayed
from project.mail_templates.liquid import MAX_VARIABLES_DEPTH, CompiledTemplate, EmailParts, TemplateInvalid, check_variables
from project.mail_templates.models import Template
from project.mail_templates.sandbox import MAX_SOURCE_LENGTH
from project.mail_templates.store import TemplateNotFound, delete_template, put_template

# The preview page shows HTML of template authors in a sandboxed frame of its own. This policy applies to that frame too.
_PREVIEW_POLICY = (
    "default-src 'none'; img-src data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_SLUG = re.compile(r"[a-z0-9_-]{1,100}")


def _source_field(**options: Any) -> forms.CharField:
    widget = forms.Textarea(attrs={"class": "vLargeTextField source", "rows": 16, "spellcheck": "false"})
    return forms.CharField(required=False, strip=False, max_length=MAX_SOURCE_LENGTH, widget=widget, **options)


class TemplateForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Form for the sources of a template. A Liquid error is shown next to the field that contains it, with its line number."""

    text = _source_field()
    html = _source_field(label="HTML", help_text="Variables are HTML-escaped in this part only.")

    class Meta:
        model = Template
        fields = ("slug", "subject", "text", "html")

    def clean_slug(self) -> str:
        """Accept the slugs that the API accepts. Raises `ValidationError` if a template with this slug exists."""
        slug: str = self.cleaned_data["slug"]
        if not _SLUG.fullmatch(slug):
            raise forms.ValidationError("Use only lowercase letters, digits, hyphens and underscores.")
        if Template.objects.filter(slug=slug, is_current=True).exists():
            raise forms.ValidationError("A template with this slug already exists.")
        return slug

    def clean_subject(self) -> str:
        """Return the subject. Raises `ValidationError` if it is not a single line."""
        try:
            return check_displayed(self.cleaned_data["subject"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        """Compile the sources. At least one of text and HTML is required."""
        cleaned = super().clean() or {}
        sources = sources_from_form(cleaned)
        if not self.errors and not sources.text and not sources.html:
            raise forms.ValidationError("Enter text, HTML or both.")
        try:
            self.compiled = CompiledTemplate(sources)
        except TemplateInvalid as error:
            self.add_error(error.part, error.detail)
        return cleaned


class CurrentTemplateChangeList(ChangeList):
    """List of the current versions."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the current version of each template, without its bodies."""
        return super().get_queryset(request, exclude_parameters).filter(is_current=True).defer("text", "html")


@admin.register(Template)
class TemplateAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Admin of templates."""

    form = TemplateForm
    change_form_template = "admin/mail_templates/template/template_form.html"
    list_display = ("slug", "version", "subject", "created_at")
    ordering = ("slug",)
    search_fields = ("slug", "subject")
    show_full_result_count = False

    class Media:
        css = {"all": ("mailrail/admin.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """List only current versions."""
        return CurrentTemplateChangeList

    def get_fields(self, request: HttpRequest, obj: Template | None = None) -> tuple[str, ...]:
        """Put the slug first, even when it is read-only."""
        return TemplateForm.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Template | None = None) -> tuple[str, ...]:
        """Make the slug of an existing template read-only."""
        return ("slug",) if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Template | None = None) -> bool:
        """Allow changes of the current version only."""
        return super().has_change_permission(request, obj) and (obj is None or obj.is_current)

    def has_delete_permission(self, request: HttpRequest, obj: Template | None = None) -> bool:
        """Allow deletion of the current version only."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.is_current)

    def save_model(self, request: HttpRequest, obj: Template, form: Any, change: bool) -> None:
        """Create the next version, as the API does."""
        created = put_template(obj.slug, form.compiled, now=timezone.now())
        obj.pk, obj.version, obj.created_at = created.pk, created.version, created.created_at

    def response_change(self, request: HttpRequest, obj: Template) -> HttpResponse:
        """Redirect to the new version; Django would redirect to the version that was edited."""
        response = super().response_change(request, obj)
        if "_continue" in request.POST:
            return HttpResponseRedirect(reverse("admin:mail_templates_template_change", args=[obj.pk]))
        return response

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return only the templates' names: no rows are deleted."""
        return [str(obj) for obj in objs], {}, set(), []

    def delete_model(self, request: HttpRequest, obj: Template) -> None:
        """Delete a template as the API does. Does nothing if another user has already deleted it."""
        with suppress(TemplateNotFound), transaction.atomic():
            delete_template(obj.slug)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Template]) -> None:
        """Delete templates one by one, each in its own transaction."""
        for template in queryset:
            self.delete_model(request, template)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Add the list of versions to the form."""
        template: Template | None = kwargs.get("obj")
        versions = Template.objects.filter(slug=template.slug).defer("text", "html").order_by("-version") if template else []
        return super().render_change_form(request, context | {"versions": versions}, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the preview."""
        own = [path("preview/", self.admin_site.admin_view(self.preview_view), name="mail_templates_template_preview")]
        return own + super().get_urls()

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """Render the sources in the form, or the sources of a saved version, for the preview frame."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        sources = self.sources_of_version(request) if "version" in request.POST else sources_from_form(request.POST.dict())
        context = preview_context(sources, request.POST.get("variables", ""))
        response = TemplateResponse(request, "admin/mail_templates/template/preview.html", context)
        response["Content-Security-Policy"] = _PREVIEW_POLICY
        response["X-Frame-Options"] = "SAMEORIGIN"
        return response

    def sources_of_version(self, request: HttpRequest) -> EmailParts:
        """Return the sources of the version in the request. Raises `Http404`."""
        version: Template | None = self.get_object(request, request.POST["version"])
        if version is None:
            raise Http404
        return EmailParts(version.subject, version.text, version.html)


def sources_from_form(form: dict[str, Any]) -> EmailParts:
    """Return the sources with LF line endings, because browsers submit CRLF."""
    return EmailParts(**{part: form.get(part, "").replace("\r\n", "\n") for part in ("subject", "text", "html")})


def preview_context(sources: EmailParts, variables: str) -> dict[str, Any]:
    """Return the rendered parts, or the error, as the context of the preview page."""
    try:
        parts = CompiledTemplate(sources).render(parse_variables(variables))
        return {"parts": replace(parts, html=remove_frames(parts.html))}
    except TemplateInvalid as error:
        return {"error": error.detail}
    except ValueError as error:
        return {"error": f"variables: {error}"}


def parse_variables(text: str) -> dict[str, Any]:
    """Parse variables that were entered as JSON. Raises `ValueError` with the reason."""
    try:
        variables = json.loads(text or "{}")
    except RecursionError:
        raise ValueError(f"Lists and objects can be nested at most {MAX_VARIABLES_DEPTH} levels deep.") from None
    if not isinstance(variables, dict):
        raise ValueError('must be a JSON object, such as {"name": "Ada"}')  # noqa: TRY004  # invalid input, not a wrong type
    check_variables(variables)
    return variables
