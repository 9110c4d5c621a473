"""Access matrix: every operation of the OpenAPI document, called by every kind of caller.

The order of checks is 401, 403, then 404 and 422, so that unauthenticated callers cannot find out what exists or what is valid.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser
from django.urls import URLPattern, URLResolver, get_resolver
from fastapi.routing import APIRoute, iter_route_contexts
from pytest_django import Settings
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fastapi_app.api_route import CALLER_CHECKS
from fastapi_app.health.metrics import require_metrics_access
from fastapi_app.main import app
from project.accounts.models import User
from project.emails.mime.builder import Draft
from project.emails.models import Email
from project.emails.submit import NewEmail, prepare_email, submit_batch
from project.mail_templates.liquid import CompiledTemplate, EmailParts
from project.mail_templates.store import put_template
from project.suppressions.store import suppress
from tests.fastapi_app.access_matrix import (
    EXPECTED_STATUS,
    NON_OWNERS,
    OPERATION_ID,
    OPERATIONS,
    PRIVATE,
    PUBLIC,
    SAFE_METHODS,
    SCOPED,
    STAFF,
    STAFF_SESSION_ONLY,
    UNAUTHENTICATED,
    WITHOUT_SCOPE,
    AccessContext,
    Authenticate,
    Operation,
)
from tests.fastapi_app.conftest import GetToken, LogIn, bearer
from tests.mailers import use_backend

SECRET = "confidential subject"


@pytest.fixture
def context(
    client: TestClient,
    owner: User,
    teammate: User,
    token: GetToken,
    log_in: LogIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> AccessContext:
    """Return a test's context. Emails can leave this machine, so sending needs a credential. Event streams end at once."""
    use_backend(settings, "django.core.mail.backends.locmem.EmailBackend")
    monkeypatch.setattr(app.state.event_stream, "is_stopping", True)
    return AccessContext(client, owner, teammate, token, log_in)


@pytest.fixture
def email(shared_test_connection: None) -> Email:
    """Create a scheduled email of another owner, and a template and a suppression, which have no owner. Return the email."""
    now = datetime.now(UTC)
    draft = Draft("shop@example.com", to=("eve@example.com",), subject=SECRET, text="Hi")
    new = NewEmail(draft, owner_id="key:0", tags={"order": SECRET}, scheduled_at=now + timedelta(days=1))
    prepared = prepare_email(new, now=now)
    submit_batch([prepared])
    put_template("welcome", CompiledTemplate(EmailParts("Hi", "Hi {{ name }}", "")), now=now)
    suppress("ada@example.com", now=now)
    return Email.objects.get(pk=prepared.email.id)


def for_each_operation_and_caller(operations: list[Operation], callers: dict[str, Authenticate]) -> pytest.MarkDecorator:
    """Parametrize a test with every combination of an operation and a caller."""
    pairs = [
        pytest.param(each, authenticate, id=f"{each.name} {name}")
        for each, (name, authenticate) in product(operations, callers.items())
    ]
    return pytest.mark.parametrize(("operation", "authenticate"), pairs)


# The matrix


@for_each_operation_and_caller(PRIVATE, UNAUTHENTICATED)
def test_rejects_unauthenticated_callers(
    context: AccessContext, email: Email, operation: Operation, authenticate: Authenticate
) -> None:
    response = operation.send_request(context.client, authenticate(context, operation.scope), email.id)

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@for_each_operation_and_caller(SCOPED, WITHOUT_SCOPE)
def test_rejects_callers_without_the_scope(
    context: AccessContext, email: Email, operation: Operation, authenticate: Authenticate
) -> None:
    response = operation.send_request(context.client, authenticate(context, operation.scope), email.id)

    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize("operation", [each for each in PRIVATE if each.method not in SAFE_METHODS], ids=OPERATION_ID)
def test_rejects_unsafe_methods_of_a_session_without_csrf_token(
    context: AccessContext, email: Email, operation: Operation
) -> None:
    response = operation.send_request(context.client, context.session(context.owner, csrf=False), email.id)

    assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")


@pytest.mark.parametrize("operation", [each for each in PRIVATE if each.method in SAFE_METHODS], ids=OPERATION_ID)
def test_allows_safe_methods_of_a_session_without_csrf_token(context: AccessContext, email: Email, operation: Operation) -> None:
    response = operation.send_request(context.client, context.session(context.owner, csrf=False), email.id)

    assert response.status_code == operation.success


@for_each_operation_and_caller(PRIVATE, NON_OWNERS)
def test_hides_emails_of_other_owners(
    context: AccessContext, email: Email, operation: Operation, authenticate: Authenticate
) -> None:
    response = operation.send_request(context.client, authenticate(context, operation.scope), email.id)

    rejection = 403 if operation.name in STAFF_SESSION_ONLY else 404 if operation.is_about_one_email else None
    assert response.status_code == (rejection or operation.success)
    assert SECRET not in response.text
    assert str(email.id) not in response.text


@for_each_operation_and_caller(PRIVATE, STAFF)
def test_allows_staff_with_all_permissions(
    context: AccessContext, email: Email, operation: Operation, authenticate: Authenticate
) -> None:
    response = operation.send_request(context.client, authenticate(context, operation.scope), email.id)

    is_rejected = operation.name in STAFF_SESSION_ONLY and authenticate is STAFF["token"]
    assert response.status_code == (403 if is_rejected else operation.success)


@for_each_operation_and_caller([operation for operation in OPERATIONS if operation.name in PUBLIC], UNAUTHENTICATED)
def test_public_operations_ignore_credentials(
    context: AccessContext, email: Email, operation: Operation, authenticate: Authenticate
) -> None:
    headers = authenticate(context, operation.scope)
    User.objects.update(is_active=True)

    response = operation.send_request(context.client, headers, email.id)

    assert response.status_code == operation.success
    assert SECRET not in response.text


@pytest.mark.parametrize("query", ["to=eve@example.com", "status=scheduled", f"tag=order:{SECRET}", "after={after}", "limit=100"])
def test_no_email_query_finds_emails_of_other_owners(context: AccessContext, email: Email, query: str) -> None:
    url = f"/api/emails?{query.format(after=UUID(int=2**128 - 1))}"

    response = context.client.get(url, headers=context.key("emails:read"))

    assert response.json() == {"data": [], "next": None}
    assert len(context.client.get(url, headers=bearer(context.token(context.owner))).json()["data"]) == 1


@pytest.mark.parametrize("query", ["email_id={email_id}", "after=0", "types=email.scheduled", "after=0&limit=1"])
def test_no_event_query_finds_events_of_other_owners(context: AccessContext, email: Email, query: str) -> None:
    url = f"/api/events?{query.format(email_id=email.id)}"

    response = context.client.get(url, headers=context.key("events:read"))

    assert response.json() == {"data": [], "next": None}
    assert len(context.client.get(url, headers=bearer(context.token(context.owner))).json()["data"]) == 1


# The API allows no more than the admin

CHANGES_AN_EMAIL = {"cancel_email", "retry_email", "resend_email", "reschedule_email"}


@pytest.mark.parametrize("operation", [each for each in PRIVATE if each.name in CHANGES_AN_EMAIL], ids=OPERATION_ID)
@pytest.mark.parametrize(
    ("extra", "statuses"),
    [((), (404, 404)), (("view_email",), (403, 403)), (("view_email", "change_email"), (200, 409))],
    ids=str,
)
def test_staff_need_the_admins_permissions_to_change_emails_of_other_owners(
    context: AccessContext, email: Email, operation: Operation, extra: tuple[str, ...], statuses: tuple[int, int]
) -> None:
    headers = bearer(context.token(context.allow("add_email", *extra)))

    response = operation.send_request(context.client, headers, email.id)

    assert response.status_code == statuses[operation.name in EXPECTED_STATUS]
    assert response.status_code != 403 or response.json()["code"] == "not_owner"
    assert (SECRET in response.text) == (response.status_code == 200)


# The permissions that the admin requires for the same action as each of these operations.
REQUIRED_PERMISSIONS = {
    "put_template": ["add_template", "change_template"],
    "delete_template": ["delete_template"],
    "list_templates": ["view_template"],
    "put_suppression": ["add_suppression", "change_suppression"],
    "delete_suppression": ["delete_suppression"],
    "list_suppressions": ["view_suppression"],
    "list_emails": ["view_email"],
    "list_events": ["view_email"],
}


@pytest.mark.parametrize(
    ("name", "missing"), [(name, each) for name, required in REQUIRED_PERMISSIONS.items() for each in required]
)
def test_a_scope_requires_all_of_the_admins_permissions(context: AccessContext, email: Email, name: str, missing: str) -> None:
    (operation,) = (each for each in OPERATIONS if each.name == name)
    context.teammate.user_permissions.set(Permission.objects.exclude(codename=missing))

    response = operation.send_request(context.client, context.session(context.teammate), email.id)

    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


# The events WebSocket

SOCKET, OWN_ORIGIN = "/api/ws/events", {"Origin": "http://testserver"}


def close_code(client: TestClient, headers: dict[str, str]) -> int:
    """Open the events WebSocket, try to authenticate with a bad token, and return the close code."""
    with client.websocket_connect(SOCKET, headers=headers) as socket:
        socket.send_json({"action": "authenticate", "token": "nonsense"})
        message = socket.receive()
        assert message["type"] == "websocket.close"
        return int(message["code"])


@pytest.mark.parametrize("authenticate", UNAUTHENTICATED.values(), ids=UNAUTHENTICATED)
def test_the_websocket_rejects_unauthenticated_callers(context: AccessContext, email: Email, authenticate: Authenticate) -> None:
    headers = authenticate(context, "events:read")

    code = close_code(context.client, headers | OWN_ORIGIN)

    assert code == 4401


@pytest.mark.parametrize("authenticate", WITHOUT_SCOPE.values(), ids=WITHOUT_SCOPE)
def test_the_websocket_rejects_callers_without_the_scope(
    context: AccessContext, email: Email, authenticate: Authenticate
) -> None:
    headers = authenticate(context, "events:read")

    code = close_code(context.client, headers | OWN_ORIGIN)

    assert code == 4403


def test_the_websocket_rejects_a_session_cookie_without_an_origin(context: AccessContext) -> None:
    headers = context.session(context.owner)

    code = close_code(context.client, headers)

    assert code == 4401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://testserver.evil.example", "https://testserver"])
@pytest.mark.parametrize("authenticate", STAFF.values(), ids=STAFF)
def test_the_websocket_rejects_a_foreign_origin_before_accepting(
    context: AccessContext, authenticate: Authenticate, origin: str
) -> None:
    headers = authenticate(context, "events:read") | {"Origin": origin}

    with pytest.raises(WebSocketDisconnect), context.client.websocket_connect(SOCKET, headers=headers):
        pass


# The order of rejections


@for_each_operation_and_caller(PRIVATE, {name: UNAUTHENTICATED[name] for name in ("anonymous", "bad key")})
def test_authentication_is_checked_before_validation(
    context: AccessContext, operation: Operation, authenticate: Authenticate
) -> None:
    url = operation.path.replace("{", "no such ").replace("}", "")

    response = context.client.request(
        operation.method, f"/api{url}", params={"limit": "no"}, json=["no"], headers=authenticate(context, None)
    )

    assert response.status_code == 401


@for_each_operation_and_caller(SCOPED, {"key": WITHOUT_SCOPE["key of all other scopes"]})
def test_scopes_are_checked_before_validation(context: AccessContext, operation: Operation, authenticate: Authenticate) -> None:
    url, headers = operation.path.replace("{", "no such ").replace("}", ""), authenticate(context, operation.scope)

    response = context.client.request(operation.method, f"/api{url}", params={"limit": "no"}, json=["no"], headers=headers)

    assert response.status_code == 403


# Every public route is listed here

ROUTES: list[Any] = [context.original_route for context in iter_route_contexts(app.routes)]
DOCS = ["/docs", "/docs/swagger.js", "/docs/files", "/redoc", "/redoc/redoc.css", "/redoc/redoc.js"]
OPEN_PAGES = ["/", "/favicon.ico", "/admin/login/", "/admin/logout/"]


def requires_caller(route: APIRoute) -> bool:
    """Return whether one of the route's dependencies authenticates the caller."""
    pending = list(route.dependant.dependencies)
    while pending:
        dependency = pending.pop()
        if dependency.call in {*CALLER_CHECKS, require_metrics_access}:
            return True
        pending += dependency.dependencies
    return False


def test_no_route_is_public_by_mistake() -> None:
    public_routes = [route for route in ROUTES if isinstance(route, APIRoute) and not requires_caller(route)]
    public = {route.operation_id or f"{' '.join(route.methods or ())} {route.path}" for route in public_routes}

    assert public == PUBLIC | {"HEAD /health/live", "HEAD /health/ready"}
    assert {operation.name for operation in OPERATIONS if operation.document["security"] == []} == PUBLIC


def test_serves_only_known_routes_besides_the_operations() -> None:
    other_paths = {str(getattr(route, "path", route)) for route in ROUTES if not isinstance(route, APIRoute)}

    assert other_paths == {"/openapi.json", "/ws", "/ws/events", *DOCS}


def test_all_other_django_pages_require_a_login(context: AccessContext) -> None:
    pages = {url: Browser().get(url) for url in set(_pages(get_resolver())) - set(OPEN_PAGES)}

    assert len(pages) > 30
    assert {
        url: response.status_code for url, response in pages.items() if "/admin/login/?next=" not in response.get("Location", "")
    } == {}


def _pages(resolver: URLResolver, prefix: str = "/") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        url = prefix + re.sub(r"<[^>]+>", "1", str(pattern.pattern)) if not _is_regex(pattern) else None
        if isinstance(pattern, URLResolver) and url is not None:
            yield from _pages(pattern, url)
        elif url is not None:
            yield url


def _is_regex(pattern: URLPattern | URLResolver) -> bool:
    return str(pattern.pattern).endswith("$")  # the catch-all pattern of the admin
