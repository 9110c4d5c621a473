"""Shows untrusted HTML in the admin: sandboxed, without scripts, frames or remote content."""

import re

from django.http import HttpResponse

# No scripts, no forms, no remote content, and an opaque origin even when the response is opened outside of its frame.
_HTML_POLICY = (
    "sandbox; default-src 'none'; img-src data:{images}; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_REMOTE_IMAGES = " https: http:"
# A browser connects to a frame's host, or resolves a link's, before it checks the policy. A tag starts with `<` directly followed
# by its name, without escapes (WHATWG HTML section 13.2.5.8), so no parser recognizes a renamed tag.
_FRAME = re.compile(r"<(/?)(?=(?:iframe|frame|frameset|object|embed|portal|fencedframe)[\s/>])", re.ASCII | re.IGNORECASE)
_LINK = re.compile(r"<link(?=[\s/>])", re.ASCII | re.IGNORECASE)


def remove_frames(html: str) -> str:
    """Return the HTML with frames and links disabled, so that a browser connects to no other host. The rest is unchanged."""
    return _LINK.sub("<meta", _FRAME.sub(r"<\1x-", html.replace("\0", "")))  # meta: also a void element, and allowed in a head


def sandboxed_html_response(html: str, *, remote_images: bool = False) -> HttpResponse:
    """Return untrusted HTML for a frame in the admin. Remote images reveal to the sender when and where the email is read."""
    response = HttpResponse(remove_frames(html))
    response["Content-Security-Policy"] = _HTML_POLICY.format(images=_REMOTE_IMAGES if remote_images else "")
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-DNS-Prefetch-Control"] = "off"
    return response
