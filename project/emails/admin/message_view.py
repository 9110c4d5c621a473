"""One mail's page: what it holds, its HTML in a frame that can do nothing, and its source."""

from typing import Any

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path

from project.admin.html_safety import sandboxed_html_response
from project.admin.read_only import ReadOnlyAdmin
from project.emails.admin.message_parser import parse_message


class StoredMessageAdmin(ReadOnlyAdmin):
    """Mail whose source is kept."""

    change_form_template = "admin/emails/message.html"
    fields = ("subject",)  # Django's own form is not shown

    def source_of(self, letter: Any) -> bytes:
        """The bytes of one mail."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        """Those of a mail's parts, before Django's, which would take them for ids."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path("<path:object_id>/html/", self.admin_site.admin_view(self.html_view), name=f"{name}_html"),
            path("<path:object_id>/source/", self.admin_site.admin_view(self.source_view), name=f"{name}_source"),
        ]
        return own + super().get_urls()

    def letter(self, request: HttpRequest, object_id: str) -> Any:
        """The mail that an address names, for who may see it."""
        letter = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, letter):
            raise PermissionDenied
        if letter is None:
            raise Http404
        return letter

    def html_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Its HTML, to be framed."""
        contents = parse_message(self.source_of(self.letter(request, object_id)))
        return sandboxed_html_response(contents.html_with_inline_images(), remote_images="images" in request.GET)

    def source_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Its source, to be kept as a file."""
        letter = self.letter(request, object_id)
        response = HttpResponse(self.source_of(letter), content_type="message/rfc822")
        response["Content-Disposition"] = f'attachment; filename="{letter.pk}.eml"'
        return response

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Django's page, with what the mail holds."""
        letter: Any = kwargs.get("obj")
        if letter is not None:
            context |= {
                "title": letter.subject or "No subject",
                "subtitle": None,
                "contents": parse_message(self.source_of(letter)),
                "images": "?images=1" if "images" in request.GET else "",
                "html_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_html",
                "source_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_source",
                "quoted_id": quote(letter.pk),
            }
        return super().render_change_form(request, context, *args, **kwargs)
