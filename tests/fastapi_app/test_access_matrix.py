"""Who may do what: every operation of the OpenAPI document, asked for by everyone there is.

401 comes before all else, so that a stranger learns neither what is there nor what would be valid; then 403, and only then 404
and 422.
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

from fastapi_app.dependencies import optional_caller
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
    FOR_STAFF_PAGES,
    NAME,
    OPERATIONS,
    OTHERS,
    PRIVATE,
    PUBLIC,
    SAFE,
    SCOPED,
    STAFF,
    STRANGERS,
    UNSCOPED,
    AccessContext,
    Enter,
    Operation,
)
from tests.fastapi_app.conftest import GetToken, SignIn, bearer

SECRET = "a letter of somebody else"


@pytest.fixture
def stage(
    client: TestClient,
    owner: User,
    teammate: User,
    token: GetToken,
    sign_in: SignIn,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> AccessContext:
    """Mail can leave the machine, and whoever follows events is told that the server stops."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    monkeypatch.setattr(app.state.event_stream, "is_stopping", True)
    return AccessContext(client, owner, teammate, token, sign_in)


@pytest.fixture
def email(lent: None) -> Email:
    """Somebody's mail, which waits for its time, beside what belongs to all: a template and a suppression."""
    now = datetime.now(UTC)
    draft = Draft("shop@example.com", to=("eve@example.com",), subject=SECRET, text="Hi")
    mail = prepare_email(NewEmail(draft, owner_id="key:0", tags={"order": SECRET}, scheduled_at=now + timedelta(days=1)), now=now)
    submit_batch([mail])
    put_template("welcome", CompiledTemplate(EmailParts("Hi", "Hi {{ name }}", "")), now=now)
    suppress("ada@example.com", now=now)
    return mail.email


def each(operations: list[Operation], callers: dict[str, Enter]) -> pytest.MarkDecorator:
    """Every one of the operations with every one of the callers."""
    pairs = [pytest.param(each, enter, id=f"{each.name} {name}") for each, (name, enter) in product(operations, callers.items())]
    return pytest.mark.parametrize(("operation", "enter"), pairs)


# The matrix


@each(PRIVATE, STRANGERS)
def test_who_proves_nothing_is_refused(stage: AccessContext, email: Email, operation: Operation, enter: Enter) -> None:
    answer = operation.ask(stage.client, enter(stage, operation.scope), email.id)

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@each(SCOPED, UNSCOPED)
def test_who_lacks_the_scope_is_refused(stage: AccessContext, email: Email, operation: Operation, enter: Enter) -> None:
    answer = operation.ask(stage.client, enter(stage, operation.scope), email.id)

    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


@pytest.mark.parametrize("operation", [each for each in PRIVATE if each.method not in SAFE], ids=NAME)
def test_a_session_alone_changes_nothing(stage: AccessContext, email: Email, operation: Operation) -> None:
    answer = operation.ask(stage.client, stage.session(stage.owner, csrf=False), email.id)

    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")


@pytest.mark.parametrize("operation", [each for each in PRIVATE if each.method in SAFE], ids=NAME)
def test_a_session_alone_reads(stage: AccessContext, email: Email, operation: Operation) -> None:
    answer = operation.ask(stage.client, stage.session(stage.owner, csrf=False), email.id)

    assert answer.status_code == operation.success


@each(PRIVATE, OTHERS)
def test_nothing_of_anothers_comes_back(stage: AccessContext, email: Email, operation: Operation, enter: Enter) -> None:
    answer = operation.ask(stage.client, enter(stage, operation.scope), email.id)

    refusal = 403 if operation.name in FOR_STAFF_PAGES else 404 if operation.is_about_one_mail else None
    assert answer.status_code == (refusal or operation.success)
    assert SECRET not in answer.text
    assert str(email.id) not in answer.text


@each(PRIVATE, STAFF)
def test_staff_with_all_permissions_may_do_all(stage: AccessContext, email: Email, operation: Operation, enter: Enter) -> None:
    answer = operation.ask(stage.client, enter(stage, operation.scope), email.id)

    is_refused = operation.name in FOR_STAFF_PAGES and enter is STAFF["token"]
    assert answer.status_code == (403 if is_refused else operation.success)


@each([operation for operation in OPERATIONS if operation.name in PUBLIC], STRANGERS)
def test_what_is_public_asks_nobody(stage: AccessContext, email: Email, operation: Operation, enter: Enter) -> None:
    headers = enter(stage, operation.scope)
    User.objects.update(is_active=True)

    answer = operation.ask(stage.client, headers, email.id)

    assert answer.status_code == operation.success
    assert SECRET not in answer.text


@pytest.mark.parametrize("query", ["to=eve@example.com", "status=scheduled", f"tag=order:{SECRET}", "after={after}", "limit=100"])
def test_no_question_about_mails_reaches_anothers(stage: AccessContext, email: Email, query: str) -> None:
    url = f"/api/emails?{query.format(after=UUID(int=2**128 - 1))}"

    answer = stage.client.get(url, headers=stage.key("emails:read"))

    assert answer.json() == {"data": [], "next": None}
    assert len(stage.client.get(url, headers=bearer(stage.token(stage.owner))).json()["data"]) == 1


@pytest.mark.parametrize("query", ["email_id={email_id}", "after=0", "types=email.scheduled", "after=0&limit=1"])
def test_no_question_about_events_reaches_anothers(stage: AccessContext, email: Email, query: str) -> None:
    url = f"/api/events?{query.format(email_id=email.id)}"

    answer = stage.client.get(url, headers=stage.key("events:read"))

    assert answer.json() == {"data": [], "next": None}
    assert len(stage.client.get(url, headers=bearer(stage.token(stage.owner))).json()["data"]) == 1


# A user may no more here than in the admin

MANAGE = {"cancel_email", "retry_email", "reschedule_email"}


@pytest.mark.parametrize("operation", [each for each in PRIVATE if each.name in MANAGE], ids=NAME)
@pytest.mark.parametrize(
    ("more", "answers"), [((), (404, 404)), (("view_email",), (403, 403)), (("view_email", "change_email"), (200, 409))], ids=str
)
def test_staff_change_anothers_mail_as_in_the_admin(
    stage: AccessContext, email: Email, operation: Operation, more: tuple[str, ...], answers: tuple[int, int]
) -> None:
    headers = bearer(stage.token(stage.allow("add_email", *more)))

    answer = operation.ask(stage.client, headers, email.id)

    assert answer.status_code == answers[operation.name == "retry_email"]
    assert answer.status_code != 403 or answer.json()["code"] == "email_not_yours"
    assert (SECRET in answer.text) == (answer.status_code == 200)


# What the admin asks for before it does the same.
NEEDED = {
    "put_template": ["add_template", "change_template"],
    "delete_template": ["delete_template"],
    "list_templates": ["view_template"],
    "put_suppression": ["add_suppression", "change_suppression"],
    "delete_suppression": ["delete_suppression"],
    "list_suppressions": ["view_suppression"],
    "list_emails": ["view_email"],
    "list_events": ["view_email"],
}


@pytest.mark.parametrize(("name", "lacking"), [(name, each) for name, needed in NEEDED.items() for each in needed])
def test_staff_do_nothing_that_the_admin_would_refuse(stage: AccessContext, email: Email, name: str, lacking: str) -> None:
    (operation,) = (each for each in OPERATIONS if each.name == name)
    stage.teammate.user_permissions.set(Permission.objects.exclude(codename=lacking))

    answer = operation.ask(stage.client, stage.session(stage.teammate), email.id)

    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


# The socket of the events

SOCKET, OURS = "/api/ws/events", {"Origin": "http://testserver"}


def closed(client: TestClient, headers: dict[str, str]) -> int:
    """The code that the socket is closed with, after its client has said who it is if it is asked."""
    with client.websocket_connect(SOCKET, headers=headers) as socket:
        socket.send_json({"action": "authenticate", "token": "nonsense"})
        message = socket.receive()
        assert message["type"] == "websocket.close"
        return int(message["code"])


@pytest.mark.parametrize("enter", STRANGERS.values(), ids=STRANGERS)
def test_the_socket_is_closed_to_who_proves_nothing(stage: AccessContext, email: Email, enter: Enter) -> None:
    headers = enter(stage, "events:read")

    code = closed(stage.client, headers | OURS)

    assert code == 4401


@pytest.mark.parametrize("enter", UNSCOPED.values(), ids=UNSCOPED)
def test_the_socket_is_closed_to_who_lacks_the_scope(stage: AccessContext, email: Email, enter: Enter) -> None:
    headers = enter(stage, "events:read")

    code = closed(stage.client, headers | OURS)

    assert code == 4403


def test_the_socket_takes_a_cookie_from_a_browser_alone(stage: AccessContext) -> None:
    headers = stage.session(stage.owner)

    code = closed(stage.client, headers)

    assert code == 4401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://testserver.evil.example", "https://testserver"])
@pytest.mark.parametrize("enter", STAFF.values(), ids=STAFF)
def test_the_socket_is_shut_before_it_opens_to_a_foreign_page(stage: AccessContext, enter: Enter, origin: str) -> None:
    headers = enter(stage, "events:read") | {"Origin": origin}

    with pytest.raises(WebSocketDisconnect), stage.client.websocket_connect(SOCKET, headers=headers):
        pass


# The order of refusals


@each(PRIVATE, {"nobody": STRANGERS["nobody"], "bad key": STRANGERS["bad key"]})
def test_a_stranger_does_not_learn_what_is_valid_or_there(stage: AccessContext, operation: Operation, enter: Enter) -> None:
    url = operation.path.replace("{", "no such ").replace("}", "")

    answer = stage.client.request(operation.method, f"/api{url}", params={"limit": "no"}, json=["no"], headers=enter(stage, None))

    assert answer.status_code == 401


@each(SCOPED, {"key": UNSCOPED["key of all other scopes"]})
def test_who_lacks_the_scope_does_not_learn_it_either(stage: AccessContext, operation: Operation, enter: Enter) -> None:
    url, headers = operation.path.replace("{", "no such ").replace("}", ""), enter(stage, operation.scope)

    answer = stage.client.request(operation.method, f"/api{url}", params={"limit": "no"}, json=["no"], headers=headers)

    assert answer.status_code == 403


# What asks nobody says so here

ROUTES: list[Any] = [context.original_route for context in iter_route_contexts(app.routes)]
DOCS = ["/docs", "/docs/swagger.js", "/docs/files", "/redoc", "/redoc/redoc.css", "/redoc/redoc.js"]
OPEN_PAGES = ["/", "/favicon.ico", "/admin/login/", "/admin/logout/"]


def asks(route: APIRoute) -> bool:
    """Whether a route has a principal."""
    left = list(route.dependant.dependencies)
    while left:
        dependency = left.pop()
        if dependency.call in {optional_caller, require_metrics_access}:
            return True
        left += dependency.dependencies
    return False


def test_no_route_is_public_by_mistake() -> None:
    public = {route.operation_id for route in ROUTES if isinstance(route, APIRoute) and not asks(route)}

    assert public == PUBLIC
    assert {operation.name for operation in OPERATIONS if "security" not in operation.document} == PUBLIC


def test_nothing_else_is_served_but_the_document_and_the_sockets() -> None:
    others = {str(getattr(route, "path", route)) for route in ROUTES if not isinstance(route, APIRoute)}

    assert others == {"/openapi.json", "/ws", "/ws/events", *DOCS}


def test_every_page_of_django_but_these_asks_who_it_is(stage: AccessContext) -> None:
    pages = {url: Browser().get(url) for url in set(_pages(get_resolver())) - set(OPEN_PAGES)}

    assert len(pages) > 30
    assert {
        url: answer.status_code for url, answer in pages.items() if "/admin/login/?next=" not in answer.get("Location", "")
    } == {}


def _pages(resolver: URLResolver, before: str = "/") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        url = before + re.sub(r"<[^>]+>", "1", str(pattern.pattern)) if not _is_regex(pattern) else None
        if isinstance(pattern, URLResolver) and url is not None:
            yield from _pages(pattern, url)
        elif url is not None:
            yield url


def _is_regex(pattern: URLPattern | URLResolver) -> bool:
    return str(pattern.pattern).endswith("$")  # the admin's catch-all
