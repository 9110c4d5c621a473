"""One mail's page: what it holds, its HTML in a frame that can do nothing, and its source."""

import re
from typing import Any

from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path

from project.outbox.admin.contents import read_contents
from project.outbox.admin.listing import ReadOnly

# Strangers' HTML: no script, no form, nothing from elsewhere, and an origin of its own even when opened by itself.
_HTML_POLICY = (
    "sandbox; default-src 'none'; img-src data:{images}; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_REMOTE_IMAGES = " https: http:"
# A browser connects to a frame's host, or looks up a link's, before it asks the policy. A tag is nothing but `<` and its name, as
# they are written (WHATWG HTML section 13.2.5.8), so what is renamed here is no such tag to any parser.
_FRAME = re.compile(r"<(/?)(?=(?:iframe|frame|frameset|object|embed|portal|fencedframe)[\s/>])", re.ASCII | re.IGNORECASE)
_LINK = re.compile(r"<link(?=[\s/>])", re.ASCII | re.IGNORECASE)


def frameless(html: str) -> str:
    """HTML that opens no page within it, and connects to nobody. What else is in it stays as it is."""
    return _LINK.sub("<meta", _FRAME.sub(r"<\1x-", html.replace("\0", "")))  # meta: it ends at once, and may be in a head


def html_response(html: str, *, remote_images: bool = False) -> HttpResponse:
    """HTML that is not ours, for a frame of the admin's. Remote images tell their sender that, and where, it is read."""
    response = HttpResponse(frameless(html))
    response["Content-Security-Policy"] = _HTML_POLICY.format(images=_REMOTE_IMAGES if remote_images else "")
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-DNS-Prefetch-Control"] = "off"
    return response


class LetterAdmin(ReadOnly):
    """Mail whose source is kept."""

    change_form_template = "admin/outbox/letter.html"
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
        contents = read_contents(self.source_of(self.letter(request, object_id)))
        return html_response(contents.html_with_pictures(), remote_images="images" in request.GET)

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
                "contents": read_contents(self.source_of(letter)),
                "images": "?images=1" if "images" in request.GET else "",
                "html_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_html",
                "source_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_source",
                "quoted_id": quote(letter.pk),
            }
        return super().render_change_form(request, context, *args, **kwargs)
