"""The templates in the admin: written, tried with variables, and looked at as they were. Each edit makes a version."""

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
from project.emails.mime.headers import check_line
from project.mail_templates.liquid import MAX_VARIABLES_DEPTH, CompiledTemplate, EmailParts, TemplateInvalid, check_variables
from project.mail_templates.models import Template
from project.mail_templates.sandbox import MAX_SOURCE_LENGTH
from project.mail_templates.store import TemplateNotFound, delete_template, put_template

# The page is ours and the HTML in it is not: that is framed once more, in a sandbox, and this policy holds there too.
_PREVIEW_POLICY = (
    "default-src 'none'; img-src data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_SLUG = re.compile(r"[a-z0-9_-]{1,100}")


def _source(**options: Any) -> forms.CharField:
    widget = forms.Textarea(attrs={"class": "vLargeTextField source", "rows": 16, "spellcheck": "false"})
    return forms.CharField(required=False, strip=False, max_length=MAX_SOURCE_LENGTH, widget=widget, **options)


class TemplateForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """The sources of a template. What is wrong with one is told at its field, with the line."""

    text = _source()
    html = _source(label="HTML", help_text="Variables are escaped here, and nowhere else.")

    class Meta:
        model = Template
        fields = ("slug", "subject", "text", "html")

    def clean_slug(self) -> str:
        """As the API takes it, and not one that there is."""
        slug: str = self.cleaned_data["slug"]
        if not _SLUG.fullmatch(slug):
            raise forms.ValidationError("A slug has lower case letters, digits, - and _.")
        if Template.objects.filter(slug=slug, is_current=True).exists():
            raise forms.ValidationError("There is a template of this name.")
        return slug

    def clean_subject(self) -> str:
        """One line."""
        try:
            return check_line(self.cleaned_data["subject"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        """What can be read as Liquid, and is more than a subject."""
        cleaned = super().clean() or {}
        sources = sources_from_form(cleaned)
        if not self.errors and not sources.text and not sources.html:
            raise forms.ValidationError("A template has a text, or HTML, or both.")
        try:
            self.parsed = CompiledTemplate(sources)
        except TemplateInvalid as error:
            self.add_error(error.part, error.detail)
        return cleaned


class CurrentTemplateChangeList(ChangeList):
    """The templates as they are, without what they were."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """One of each."""
        return super().get_queryset(request, exclude_parameters).filter(is_current=True).defer("text", "html")


@admin.register(Template)
class TemplateAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """What mails are made from."""

    form = TemplateForm
    change_form_template = "admin/mail_templates/template/template_form.html"
    list_display = ("slug", "version", "subject", "created_at")
    ordering = ("slug",)
    search_fields = ("slug", "subject")
    show_full_result_count = False

    class Media:
        css = {"all": ("mailrail/admin.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Of the current ones."""
        return CurrentTemplateChangeList

    def get_fields(self, request: HttpRequest, obj: Template | None = None) -> tuple[str, ...]:
        """The name first, even where it cannot be changed."""
        return TemplateForm.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Template | None = None) -> tuple[str, ...]:
        """The name of one that is there."""
        return ("slug",) if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Template | None = None) -> bool:
        """Only of what is current."""
        return super().has_change_permission(request, obj) and (obj is None or obj.is_current)

    def has_delete_permission(self, request: HttpRequest, obj: Template | None = None) -> bool:
        """Only of what is current."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.is_current)

    def save_model(self, request: HttpRequest, obj: Template, form: Any, change: bool) -> None:
        """As the API does: the next version."""
        made = put_template(obj.slug, form.parsed, now=timezone.now())
        obj.pk, obj.version, obj.created_at = made.pk, made.version, made.created_at

    def response_change(self, request: HttpRequest, obj: Template) -> HttpResponse:
        """To the new version, where Django would go back to the one that was edited."""
        response = super().response_change(request, obj)
        if "_continue" in request.POST:
            return HttpResponseRedirect(reverse("admin:mail_templates_template_change", args=[obj.pk]))
        return response

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The names alone: no row goes away."""
        return [str(obj) for obj in objs], {}, set(), []

    def delete_model(self, request: HttpRequest, obj: Template) -> None:
        """As the API does; that somebody else was faster is as well."""
        with suppress(TemplateNotFound), transaction.atomic():
            delete_template(obj.slug)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Template]) -> None:
        """Each as one."""
        for template in queryset:
            self.delete_model(request, template)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Django's form, with the versions that there were."""
        template: Template | None = kwargs.get("obj")
        versions = Template.objects.filter(slug=template.slug).defer("text", "html").order_by("-version") if template else []
        return super().render_change_form(request, context | {"versions": versions}, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        """With that of the preview."""
        own = [path("preview/", self.admin_site.admin_view(self.preview_view), name="mail_templates_template_preview")]
        return own + super().get_urls()

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """What becomes of what is in the form, or of a version, for a frame beside it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        sources = self.version_in(request) if "version" in request.POST else sources_from_form(request.POST.dict())
        context = preview_context(sources, request.POST.get("variables", ""))
        response = TemplateResponse(request, "admin/mail_templates/template/preview.html", context)
        response["Content-Security-Policy"] = _PREVIEW_POLICY
        response["X-Frame-Options"] = "SAMEORIGIN"
        return response

    def version_in(self, request: HttpRequest) -> EmailParts:
        """The parts of the version that is asked for."""
        version: Template | None = self.get_object(request, request.POST["version"])
        if version is None:
            raise Http404
        return EmailParts(version.subject, version.text, version.html)


def sources_from_form(form: dict[str, Any]) -> EmailParts:
    """The parts, with the line ends that they were written with: a form brings others."""
    return EmailParts(**{part: form.get(part, "").replace("\r\n", "\n") for part in ("subject", "text", "html")})


def preview_context(sources: EmailParts, variables: str) -> dict[str, Any]:
    """The parts with these variables, or why there are none."""
    try:
        parts = CompiledTemplate(sources).render(parse_variables(variables))
        return {"parts": replace(parts, html=remove_frames(parts.html))}
    except TemplateInvalid as error:
        return {"error": error.detail}
    except ValueError as error:
        return {"error": f"variables: {error}"}


def parse_variables(text: str) -> dict[str, Any]:
    """Variables that are written as JSON. Raises ValueError, which says why."""
    try:
        variables = json.loads(text or "{}")
    except RecursionError:
        raise ValueError(f"Lists and objects lie up to {MAX_VARIABLES_DEPTH} deep in each other.") from None
    if not isinstance(variables, dict):
        raise ValueError('not an object, such as {"name": "Ada"}')  # noqa: TRY004  # of what is typed, not of a type
    check_variables(variables)
    return variables
