"""Everything that may be asked for, as the OpenAPI document has it, and everyone who may ask."""

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
from tests.fastapi_app.conftest import GetToken, SignIn, bearer

PUBLIC = {"read_root", "greet", "add", "create_token", "get_liveness", "get_readiness"}
FOR_STAFF_PAGES = {"get_metrics"}  # of programs, only the one with METRICS_TOKEN
SAFE = {"GET"}
# What the document has no example for, or one that would take long.
PARAMS = {"greet": {"name": "Ada", "pause": "0"}}
FORMS = {"create_token": {"username": "owner", "password": PASSWORD}}
# What is answered to who may, if that is not the document's success: no engine runs here; and a mail that waits has not failed.
ANSWERS = {"get_readiness": 503, "retry_email": 409}


@dataclass(frozen=True)
class Operation:
    """One way to ask for something, and the scope that it needs; None if it needs a principal and no scope."""

    name: str
    method: str
    path: str
    document: dict[str, Any]

    @property
    def scope(self) -> str | None:
        """The only scope that it asks for."""
        scopes = {scope for way in self.document.get("security", []) for needed in way.values() for scope in needed}
        assert len(scopes) <= 1
        return next(iter(scopes), None)

    @property
    def success(self) -> int:
        """What is answered to who may."""
        documented = next(int(status) for status in self.document["responses"] if status < "3")
        return ANSWERS.get(self.name, documented)

    @property
    def is_about_one_mail(self) -> bool:
        """Whether it names a mail that is somebody's."""
        return "{email_id}" in self.path

    def ask(self, client: TestClient, headers: dict[str, str], email_id: object) -> Any:
        """Send a valid request, as the document shows one."""
        found: dict[str, str] = {
            each["name"]: str(_example(each)) for each in self.document.get("parameters", []) if each["in"] == "path"
        }
        wanted = [each for each in self.document.get("parameters", []) if each["in"] == "query" and each.get("required")]
        url = self.path.format(**found | {"email_id": email_id})
        params = {each["name"]: str(_example(each)) for each in wanted} | PARAMS.get(self.name, {})
        body = self.document.get("requestBody", {}).get("content", {}).get("application/json")
        return client.request(
            self.method,
            f"/api{url}",
            params=params,
            json=None if body is None else _example_of(body["schema"]),
            data=FORMS.get(self.name),
            headers=headers,
        )


def _example(parameter: dict[str, Any]) -> Any:
    examples = parameter.get("examples") or parameter["schema"].get("examples")
    return next(iter(examples.values()))["value"] if isinstance(examples, dict) else examples[0] if examples else "1"


def _example_of(schema: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _example_of(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("type") == "array":
        return [_example_of(schema["items"])]
    fields: dict[str, Any] = schema.get("properties", {})
    return {
        name: _example_of(field) for name, field in fields.items() if "examples" in field or name in schema.get("required", [])
    }


DOCUMENT: dict[str, Any] = app.openapi()
OPERATIONS = [
    Operation(document["operationId"], method.upper(), path, document)
    for path, operations in DOCUMENT["paths"].items()
    for method, document in operations.items()
]
PRIVATE = [operation for operation in OPERATIONS if operation.name not in PUBLIC]
SCOPED = [operation for operation in PRIVATE if operation.scope]
NAME = attrgetter("name")


# The cast


@dataclass
class AccessContext:
    """What callers need to come in: the client whose cookies they set, and ways to get a credential."""

    client: TestClient
    owner: User
    teammate: User
    token: GetToken
    sign_in: SignIn

    def key(self, *scopes: str, expires_at: datetime | None = None) -> dict[str, str]:
        """A program's credential."""
        return bearer(create_key("shop", scopes=scopes, expires_at=expires_at))

    def session(self, user: User, *, csrf: bool = True) -> dict[str, str]:
        """A browser's cookies, and the header that shows that our own page asks."""
        self.sign_in(user)
        self.client.cookies.set("csrftoken", "x" * 32)
        return {"X-CSRFToken": "x" * 32} if csrf else {}

    def allow(self, *permissions: str) -> User:
        """Give the teammate these permissions alone."""
        names = [permission.rpartition(".")[2] for permission in permissions]
        self.teammate.user_permissions.set(Permission.objects.filter(codename__in=names))
        return self.teammate


def _other_scopes(scope: str | None) -> list[str]:
    return [other for other in SCOPES if other != scope]


def _other_permissions(scope: str | None) -> set[str]:
    return {permission for other in PERMISSIONS.values() for permission in other} - set(PERMISSIONS.get(scope or "", ()))


def _who_may(stage: AccessContext, scope: str | None) -> User:
    user = stage.allow(*PERMISSIONS.get(scope or "", ()))
    user.is_staff = False
    user.save()
    return user


def _revoked(stage: AccessContext, _scope: str | None) -> dict[str, str]:
    headers = stage.key(*SCOPES)
    revoke_key(ApiKey.objects.get().prefix, now=timezone.now())
    return headers


def _deleted(stage: AccessContext, _scope: str | None) -> dict[str, str]:
    headers = stage.key(*SCOPES)
    ApiKey.objects.all().delete()
    return headers


def _bad(stage: AccessContext, _scope: str | None) -> dict[str, str]:
    good = stage.key(*SCOPES)["Authorization"]
    return {"Authorization": good.swapcase().replace("bEARER MR_", "Bearer mr_")}


def _deactivated_token(stage: AccessContext, _scope: str | None) -> dict[str, str]:
    headers = bearer(stage.token(stage.owner))
    User.objects.update(is_active=False)
    return headers


def _deactivated_session(stage: AccessContext, _scope: str | None) -> dict[str, str]:
    headers = stage.session(stage.owner)
    User.objects.update(is_active=False)
    return headers


def _expired_token(stage: AccessContext, _scope: str | None) -> dict[str, str]:
    with patch("django.core.signing.time.time", return_value=timezone.now().timestamp() - LIFETIME_SECONDS - 5):
        return bearer(stage.token(stage.owner))


Enter = Callable[[AccessContext, str | None], dict[str, str]]

STRANGERS: dict[str, Enter] = {
    "nobody": lambda _stage, _scope: {},
    "bad key": _bad,
    "expired key": lambda stage, _scope: stage.key(*SCOPES, expires_at=timezone.now() - timedelta(seconds=1)),
    "revoked key": _revoked,
    "deleted key": _deleted,
    "expired token": _expired_token,
    "deactivated user's token": _deactivated_token,
    "deactivated user's session": _deactivated_session,
    "password": lambda _stage, _scope: {"Authorization": "Basic b3duZXI6Y29ycmVjdCBob3JzZQ=="},
}
UNSCOPED: dict[str, Enter] = {
    "key of all other scopes": lambda stage, scope: stage.key(*_other_scopes(scope)),
    "token of all other scopes": lambda stage, scope: bearer(stage.token(stage.owner, *_other_scopes(scope))),
    "token of a user without the permission": lambda stage, scope: bearer(stage.token(stage.allow(*_other_permissions(scope)))),
    "session of a user without the permission": lambda stage, scope: stage.session(stage.allow(*_other_permissions(scope))),
}
OTHERS: dict[str, Enter] = {  # who may, and whose mail it is not
    "another's key": lambda stage, scope: stage.key(*([scope] if scope else [])),
    "another's token": lambda stage, scope: bearer(stage.token(_who_may(stage, scope))),
    "another's session": lambda stage, scope: stage.session(_who_may(stage, scope)),
}
STAFF: dict[str, Enter] = {
    "token": lambda stage, _scope: bearer(stage.token(stage.owner)),
    "session": lambda stage, _scope: stage.session(stage.owner),
}
