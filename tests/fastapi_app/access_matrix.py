"""Operations of the OpenAPI document, and callers with every kind of credential, for the access matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from unittest.mock import patch

from django.contrib.auth.models import Permission
from django.utils import timezone
from starlette.testclient import TestClient

from fastapi_app.main import app
from project.accounts.models import User
from project.api_keys.keys import create_key, revoke_key
from project.api_keys.models import ApiKey
from project.auth.access_tokens import LIFETIME_SECONDS
from project.auth.scopes import PERMISSIONS, SCOPES
from tests.conftest import PASSWORD
from tests.fastapi_app.conftest import GetToken, LogIn, bearer

PUBLIC = {"read_root", "greet", "add", "create_token", "get_liveness", "get_readiness"}
STAFF_SESSION_ONLY = {"get_metrics"}  # a program authenticates with METRICS_TOKEN instead
SAFE_METHODS = {"GET"}
# Query parameters and forms of operations for which the document has no example, or only a slow one.
QUERY_PARAMS = {"greet": {"name": "Ada", "pause": "0"}}
FORMS = {"create_token": {"username": "owner", "password": PASSWORD}}
# Statuses other than the documented success. No worker runs here, so readiness fails. The email is scheduled, so it cannot be
# retried or sent again.
EXPECTED_STATUS = {"get_readiness": 503, "retry_email": 409, "resend_email": 409}


@dataclass(frozen=True)
class Operation:
    """An operation of the API."""

    name: str
    method: str
    path: str
    document: dict[str, Any]

    @property
    def scope(self) -> str | None:
        """Return the required scope, or None if the operation requires no scope."""
        scopes = {scope for scheme in self.document.get("security", []) for required in scheme.values() for scope in required}
        assert len(scopes) <= 1
        return next(iter(scopes), None)

    @property
    def success(self) -> int:
        """Return the status that an authorized caller receives."""
        documented = next(int(status) for status in self.document["responses"] if status < "3")
        return EXPECTED_STATUS.get(self.name, documented)

    @property
    def is_about_one_email(self) -> bool:
        """Return whether the path contains the id of an email."""
        return "{email_id}" in self.path

    def send_request(self, client: TestClient, headers: dict[str, str], email_id: object) -> Any:
        """Send a valid request, built from the examples in the OpenAPI document."""
        path_params: dict[str, str] = {
            each["name"]: str(_example(each)) for each in self.document.get("parameters", []) if each["in"] == "path"
        }
        required = [each for each in self.document.get("parameters", []) if each["in"] == "query" and each.get("required")]
        url = self.path.format(**path_params | {"email_id": email_id})
        params = {each["name"]: str(_example(each)) for each in required} | QUERY_PARAMS.get(self.name, {})
        body = self.document.get("requestBody", {}).get("content", {}).get("application/json")
        return client.request(
            self.method,
            f"/api{url}",
            params=params,
            json=None if body is None else _example_body(body["schema"]),
            data=FORMS.get(self.name),
            headers=headers,
        )


def _example(parameter: dict[str, Any]) -> Any:
    examples = parameter.get("examples") or parameter["schema"].get("examples")
    return next(iter(examples.values()))["value"] if isinstance(examples, dict) else examples[0] if examples else "1"


def _example_body(schema: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _example_body(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("type") == "array":
        return [_example_body(schema["items"])]
    fields: dict[str, Any] = schema.get("properties", {})
    return {
        name: _example_body(field) for name, field in fields.items() if "examples" in field or name in schema.get("required", [])
    }


DOCUMENT: dict[str, Any] = app.openapi()
OPERATIONS = [
    Operation(document["operationId"], method.upper(), path, document)
    for path, operations in DOCUMENT["paths"].items()
    for method, document in operations.items()
]
PRIVATE = [operation for operation in OPERATIONS if operation.name not in PUBLIC]
SCOPED = [operation for operation in PRIVATE if operation.scope]
OPERATION_ID = attrgetter("name")


# Callers


@dataclass
class AccessContext:
    """The client and users of a test, with methods that create credentials."""

    client: TestClient
    owner: User
    teammate: User
    token: GetToken
    log_in: LogIn

    def key(self, *scopes: str, expires_at: datetime | None = None) -> dict[str, str]:
        """Create an API key, and return the headers of a request with the key."""
        return bearer(create_key("shop", scopes=scopes, expires_at=expires_at))

    def session(self, user: User, *, csrf: bool = True) -> dict[str, str]:
        """Log the user in with a session cookie. Return the headers of a request, with the CSRF token unless `csrf` is false."""
        self.log_in(user)
        self.client.cookies.set("csrftoken", "x" * 32)
        return {"X-CSRFToken": "x" * 32} if csrf else {}

    def allow(self, *permissions: str) -> User:
        """Grant the teammate only these permissions, and return the teammate."""
        names = [permission.rpartition(".")[2] for permission in permissions]
        self.teammate.user_permissions.set(Permission.objects.filter(codename__in=names))
        return self.teammate


def _other_scopes(scope: str | None) -> list[str]:
    return [other for other in SCOPES if other != scope]


def _other_permissions(scope: str | None) -> set[str]:
    return {permission for other in PERMISSIONS.values() for permission in other} - set(PERMISSIONS.get(scope or "", ()))


def _user_with_scope(context: AccessContext, scope: str | None) -> User:
    user = context.allow(*PERMISSIONS.get(scope or "", ()))
    user.is_staff = False
    user.save()
    return user


def _revoked(context: AccessContext, _scope: str | None) -> dict[str, str]:
    headers = context.key(*SCOPES)
    revoke_key(ApiKey.objects.get().prefix, now=timezone.now())
    return headers


def _deleted(context: AccessContext, _scope: str | None) -> dict[str, str]:
    headers = context.key(*SCOPES)
    ApiKey.objects.all().delete()
    return headers


def _bad(context: AccessContext, _scope: str | None) -> dict[str, str]:
    good = context.key(*SCOPES)["Authorization"]
    return {"Authorization": good.swapcase().replace("bEARER MR_", "Bearer mr_")}


def _deactivated_token(context: AccessContext, _scope: str | None) -> dict[str, str]:
    headers = bearer(context.token(context.owner))
    User.objects.update(is_active=False)
    return headers


def _deactivated_session(context: AccessContext, _scope: str | None) -> dict[str, str]:
    headers = context.session(context.owner)
    User.objects.update(is_active=False)
    return headers


def _expired_token(context: AccessContext, _scope: str | None) -> dict[str, str]:
    with patch("django.core.signing.time.time", return_value=timezone.now().timestamp() - LIFETIME_SECONDS - 5):
        return bearer(context.token(context.owner))


Authenticate = Callable[[AccessContext, str | None], dict[str, str]]

UNAUTHENTICATED: dict[str, Authenticate] = {
    "anonymous": lambda _context, _scope: {},
    "bad key": _bad,
    "expired key": lambda context, _scope: context.key(*SCOPES, expires_at=timezone.now() - timedelta(seconds=1)),
    "revoked key": _revoked,
    "deleted key": _deleted,
    "expired token": _expired_token,
    "deactivated user's token": _deactivated_token,
    "deactivated user's session": _deactivated_session,
    "password": lambda _context, _scope: {"Authorization": "Basic b3duZXI6Y29ycmVjdCBob3JzZQ=="},
}
WITHOUT_SCOPE: dict[str, Authenticate] = {
    "key of all other scopes": lambda context, scope: context.key(*_other_scopes(scope)),
    "token of all other scopes": lambda context, scope: bearer(context.token(context.owner, *_other_scopes(scope))),
    "token of a user without the permission": lambda context, scope: bearer(
        context.token(context.allow(*_other_permissions(scope)))
    ),
    "session of a user without the permission": lambda context, scope: context.session(context.allow(*_other_permissions(scope))),
}
NON_OWNERS: dict[str, Authenticate] = {  # callers that have the scope but do not own the email
    "another's key": lambda context, scope: context.key(*([scope] if scope else [])),
    "another's token": lambda context, scope: bearer(context.token(_user_with_scope(context, scope))),
    "another's session": lambda context, scope: context.session(_user_with_scope(context, scope)),
}
STAFF: dict[str, Authenticate] = {
    "token": lambda context, _scope: bearer(context.token(context.owner)),
    "session": lambda context, _scope: context.session(context.owner),
}
