"""Admin page of one message: its parts, its HTML in a sandboxed frame, and its source for download."""

from typing import Any

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path

from project.admin.html_safety import sandboxed_html_response
from project.admin.read_only import ReadOnlyAdmin
from project.emails.admin.message_parser import parse_message


class StoredMessageAdmin(ReadOnlyAdmin):
    """Base admin of models that store a raw message. Subclasses implement `raw_message`."""

    change_form_template = "admin/emails/message.html"
    fields = ("subject",)  # Django's own form is not shown

    def raw_message(self, row: Any) -> bytes:
        """Return the raw message of one row, or nothing if it was deleted after its retention period."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of the message's HTML and source, before Django's URLs, which would treat `…/html` as an id."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path("<path:object_id>/html/", self.admin_site.admin_view(self.html_view), name=f"{name}_html"),
            path("<path:object_id>/source/", self.admin_site.admin_view(self.source_view), name=f"{name}_source"),
        ]
        return own + super().get_urls()

    def get_row_or_404(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row with the quoted id from a URL. Raises `PermissionDenied`, `Http404`."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            raise Http404
        return row

    def html_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the message's HTML, for the sandboxed frame."""
        message = parse_message(self.raw_message(self.get_row_or_404(request, object_id)))
        return sandboxed_html_response(message.html_with_inline_images(), remote_images="images" in request.GET)

    def source_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the raw message as a download."""
        row = self.get_row_or_404(request, object_id)
        content = self.raw_message(row)
        if not content:
            raise Http404
        response = HttpResponse(content, content_type="message/rfc822")
        response["Content-Disposition"] = f'attachment; filename="{row.pk}.eml"'
        return response

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Render Django's change page with the parsed message in its context."""
        row: Any = kwargs.get("obj")
        if row is not None:
            content = self.raw_message(row)
            context |= {
                "message_deleted": not content,
                "title": row.subject or "No subject",
                "subtitle": None,
                "parsed_message": parse_message(content),
                "images": "?images=1" if "images" in request.GET else "",
                "html_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_html",
                "source_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_source",
                "quoted_id": quote(row.pk),
            }
        return super().render_change_form(request, context, *args, **kwargs)
