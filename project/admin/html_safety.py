"""Shows untrusted HTML in the admin: sandboxed, without scripts, frames or remote content."""

import re

from django.http import HttpResponse

# No scripts, no forms, no remote content, and an opaque origin even when the response is opened outside of its frame.
_HTML_POLICY = (
    "sandbox; default-src 'none'; img-src data:{images}; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_REMOTE_IMAGES = " https: http:"
# A browser connects to the host of a frame, and resolves the host of a <link>, before it checks the policy. A tag is `<` directly
# followed by its name, which cannot be escaped (WHATWG HTML section 13.2.5.8), so a tag with another name has no effect.
_FRAME = re.compile(r"<(/?)(?=(?:iframe|frame|frameset|object|embed|portal|fencedframe)[\s/>])", re.ASCII | re.IGNORECASE)
_LINK = re.compile(r"<link(?=[\s/>])", re.ASCII | re.IGNORECASE)


def remove_frames(html: str) -> str:
    """Return the HTML with its frames and `<link>` elements disabled, so that a browser does not connect to their hosts."""
    return _LINK.sub("<meta", _FRAME.sub(r"<\1x-", html.replace("\0", "")))  # <meta> is a void element too


def sandboxed_html_response(html: str, *, remote_images: bool = False) -> HttpResponse:
    """Return untrusted HTML for a frame in the admin. With `remote_images`, senders can see when and where it is read."""
    response = HttpResponse(remove_frames(html))
    response["Content-Security-Policy"] = _HTML_POLICY.format(images=_REMOTE_IMAGES if remote_images else "")
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-DNS-Prefetch-Control"] = "off"
    return response
