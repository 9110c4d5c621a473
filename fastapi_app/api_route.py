"""The route class of the API: rejects a body that the route's parser cannot read."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.params import Form
from starlette.datastructures import Headers

from project.bridge.background.background_tasks import BackgroundRoute

FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class ApiRoute(BackgroundRoute):
    """Route that responds 415 to a body with another media type or content coding than its parser reads."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        takes_form = self.body_field is not None and isinstance(self.body_field.field_info, Form)
        takes_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            if takes_body and _has_body(request.headers):
                check_media_type(request.headers, takes_form=takes_form)
            return await handler(request)

        return handle


def check_media_type(headers: Headers, *, takes_form: bool) -> None:
    """Raise a 415 if the body has a content coding, or another media type than the route reads (RFC 9110 section 15.5.16)."""
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        detail = f"Content-Encoding {coding[:50]!r} is not supported. Send the body without compression."
        raise HTTPException(415, detail, headers={"Accept-Encoding": "identity"})
    media_type, _, parameters = headers.get("content-type", "").lower().partition(";")
    media_type = media_type.strip()
    expected = " or ".join(FORM_TYPES) if takes_form else "application/json"
    if not (media_type in FORM_TYPES if takes_form else _is_json(media_type)):
        sent = f"Content-Type {media_type[:100]!r}" if media_type else "A body without a Content-Type"
        raise HTTPException(415, f"{sent} is not supported. Use {expected}.", headers={"Accept": expected.replace(" or ", ", ")})
    charset = parameters.partition("charset=")[2].partition(";")[0].strip(" \"'")
    if not takes_form and charset not in ("", "utf-8", "utf8", "us-ascii"):  # RFC 8259 section 8.1
        raise HTTPException(415, f"The charset {charset[:50]!r} is not supported. JSON is encoded in UTF-8.")


def _is_json(media_type: str) -> bool:
    main, _, sub = media_type.partition("/")
    return main == "application" and (sub == "json" or sub.endswith("+json"))


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""
