"""The routes of the API: they settle the credential before the body is read, and read the body within limits."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.security.base import SecurityBase
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from fastapi_app.dependencies import CALLER_SCHEMES, require_principal, require_sending_principal, settle_credential
from fastapi_app.query_parameters import reject_unknown_query
from fastapi_app.request_body import limit_body, max_body_bytes, validate_body
from project.bridge.background.background_tasks import BackgroundRoute

CALLER_CHECKS = (require_principal, require_sending_principal)
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class ApiRoute(BackgroundRoute):
    """Route that reads a body only if its media type, its caller and its size are right.

    A body with another media type or content coding than the route's parser reads gets a 415. A public route rejects unknown
    query parameters; on other routes, the dependencies that authenticate the caller do so after they have succeeded.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if (scopes := _required_scopes(self.dependant, CALLER_CHECKS)) is not None:
            security = [{scheme.scheme_name: scopes} for scheme in CALLER_SCHEMES]
            self.openapi_extra = {**(self.openapi_extra or {}), "security": security}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler, field = super().get_route_handler(), self.body_field
        calls = [each.call for each in _dependencies(self.dependant)]
        if not any(call in CALLER_CHECKS or isinstance(call, SecurityBase) for call in calls):
            handler = _with_known_query(handler)
        if field is None:
            return handler
        takes_form = isinstance(field.field_info, Form)
        scopes = _required_scopes(self.dependant, [require_principal])
        maximum = max_body_bytes(self.operation_id)

        async def handle(request: Request) -> Response:
            if _has_body(request.headers):
                check_media_type(request.headers, takes_form=takes_form)
                if scopes is not None:
                    await settle_credential(request, scopes)
                request = limit_body(request, maximum)
                if not takes_form:
                    request = await validate_body(request, field)
            return await handler(request)

        return handle


class ApiRouter(APIRouter):
    """Router of `ApiRoute`s, which tries its routes only for paths below its prefix. FastAPI would try each of them."""

    def __init__(self, *, prefix: str = "", **options: Any) -> None:
        super().__init__(prefix=prefix, **{"route_class": ApiRoute, **options})

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a route matches the request, as FastAPI expects it of a router that is included in another one."""
        if not scope["path"].removeprefix(scope.get("root_path", "")).startswith(self.prefix):
            return Match.NONE, {}
        return super().matches(scope)


def _required_scopes(dependant: Dependant, checks: Sequence[Callable[..., Any]]) -> list[str] | None:
    """Return the scopes that the caller of a route needs, or None if none of the checks is a dependency of the route."""
    for each in _dependencies(dependant):
        if each.call in checks:
            return [*(each.parent_oauth_scopes or []), *(each.own_oauth_scopes or [])]
    return None


def _dependencies(dependant: Dependant) -> Iterator[Dependant]:
    for each in dependant.dependencies:
        yield each
        yield from _dependencies(each)


def _with_known_query(
    handler: Callable[[Request], Coroutine[Any, Any, Response]],
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    # Not a dependency, which takes as long as the rest of a simple route, although most requests have no query.
    async def handle(request: Request) -> Response:
        if request.scope["query_string"]:
            await reject_unknown_query(request)
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
