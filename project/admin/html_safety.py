"""Showing untrusted HTML in the admin: sandboxed, without scripts, frames or remote content."""

import re

from django.http import HttpResponse

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


def remove_frames(html: str) -> str:
    """HTML that opens no page within it, and connects to nobody. What else is in it stays as it is."""
    return _LINK.sub("<meta", _FRAME.sub(r"<\1x-", html.replace("\0", "")))  # meta: it ends at once, and may be in a head


def sandboxed_html_response(html: str, *, remote_images: bool = False) -> HttpResponse:
    """HTML that is not ours, for a frame of the admin's. Remote images tell their sender that, and where, it is read."""
    response = HttpResponse(remove_frames(html))
    response["Content-Security-Policy"] = _HTML_POLICY.format(images=_REMOTE_IMAGES if remote_images else "")
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-DNS-Prefetch-Control"] = "off"
    return response
