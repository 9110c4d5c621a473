"""The OpenAPI document is complete enough to generate a client, and the documentation pages work without internet access."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from pytest_django import Settings
from starlette.testclient import TestClient

from fastapi_app.main import app, create_app
from fastapi_app.request_model import RequestModel
from project.auth.scopes import SCOPES
from project.bridge.background.background_tasks import BackgroundRoute

SCHEMA: dict[str, Any] = app.openapi()
CALLS = [call for path in SCHEMA["paths"].values() for call in path.items()]
OPERATIONS = [operation for _method, operation in CALLS]
PAGES = ["/api/docs", "/api/redoc"]

IDS = [operation.get("operationId", "?") for operation in OPERATIONS]

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=IDS)


def resolve(part: Any) -> Any:
    """Return a part of the schema with its references replaced by their targets."""
    if isinstance(part, list):
        return [resolve(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return resolve(SCHEMA["components"]["schemas"][part["$ref"].rpartition("/")[2]])
    return {key: resolve(value) for key, value in part.items()}


def keys(part: Any) -> Iterator[str]:
    """Yield every key in a part of the schema, at any depth."""
    for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        yield from keys(item)
    yield from part if isinstance(part, dict) else ()


def operation_named(name: str) -> dict[str, Any]:
    """Return the operation with this id."""
    operation: dict[str, Any]
    (operation,) = (operation for operation in OPERATIONS if operation["operationId"] == name)
    return operation


def model(operation: dict[str, Any], status: int) -> str:
    """Return the name of the response model. If the response is a union, return its first model."""
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    return str(schema.get("anyOf", [schema])[0]["$ref"]).rpartition("/")[2]


# Operations


@every_operation
def test_an_operation_has_a_summary_a_description_and_tags(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]


@every_operation
def test_an_operation_id_is_a_good_method_name(operation: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for operation in OPERATIONS]

    assert len(set(names)) == len(names)


@every_operation
def test_an_operation_has_a_response_model(operation: dict[str, Any]) -> None:
    (success,) = (int(status) for status in operation["responses"] if status.startswith("2"))

    is_text = {"text/event-stream", "text/plain"} & operation["responses"][str(success)].get("content", {}).keys()
    assert success == 204 or is_text or SCHEMA["components"]["schemas"][model(operation, success)]["properties"]


@every_operation
def test_an_operation_declares_422(operation: dict[str, Any]) -> None:
    assert model(operation, 422) in {"ValidationErrorBody", "TokenValidationErrorBody"}


@every_operation
def test_an_operation_with_a_body_declares_400(operation: dict[str, Any]) -> None:
    assert ("400" in operation["responses"]) == ("requestBody" in operation)  # 400: the body cannot be read as UTF-8 or as a form


@pytest.mark.parametrize(("method", "operation"), CALLS, ids=IDS)
def test_an_operation_other_than_get_declares_413(method: str, operation: dict[str, Any]) -> None:
    assert ("413" in operation["responses"]) == (method != "get")  # every request except GET may have a body


@every_operation
def test_a_401_declares_its_challenge(operation: dict[str, Any]) -> None:
    challenges = [r["headers"]["WWW-Authenticate"] for status, r in operation["responses"].items() if status == "401"]

    assert challenges in ([], [{"required": True, "schema": {"const": "Bearer"}}])


def test_sending_links_to_the_next_operations() -> None:
    accepted = operation_named("send_email")["responses"]["202"]
    names = {operation["operationId"] for operation in OPERATIONS}

    assert {link["operationId"] for link in accepted["links"].values()} < names


@pytest.mark.parametrize("name", ["send_email", "send_emails"])
def test_sending_documents_idempotency(name: str) -> None:
    operation = operation_named(name)

    assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]]
    assert "Idempotent-Replayed" in operation["responses"]["202"]["headers"]
    assert "idempotency_key_reused" in operation["responses"]["422"]["description"]


def test_metrics_declare_their_own_token_and_the_session() -> None:
    assert operation_named("get_metrics")["security"] == [{"metrics_token": []}, {"session": []}]
    assert SCHEMA["components"]["securitySchemes"]["metrics_token"]["scheme"] == "bearer"


def test_the_stream_has_a_schema() -> None:
    (content,) = operation_named("stream_events")["responses"]["200"]["content"].values()

    assert (content["schema"]["type"], "examples" in content["schema"]) == ("string", True)


@pytest.mark.parametrize("name", ["to", "cc", "bcc", "reply_to"])
def test_a_mailbox_field_takes_a_list_or_one_string(name: str) -> None:
    one, many, *null = SCHEMA["components"]["schemas"]["EmailIn"]["properties"][name]["anyOf"]

    assert one == many["items"]
    assert (one["type"], one["format"], many["type"]) == ("string", "mailbox-list", "array")
    assert (many.get("minItems"), many["maxItems"]) == (1 if name == "to" else None, 50)
    assert null == ([] if name == "to" else [{"type": "null"}])


def test_an_optional_field_of_a_request_allows_null() -> None:
    models = [
        SCHEMA["components"]["schemas"][model.__name__]
        for model in RequestModel.__subclasses__()
        if model.__name__ in SCHEMA["components"]["schemas"]
    ]
    optional = [field for model in models for name, field in model["properties"].items() if name not in model.get("required", [])]

    assert len(models) >= 7
    assert [field for field in optional if {"type": "null"} not in field.get("anyOf", [])] == []


def test_every_field_of_a_model_has_an_example() -> None:
    missing = [
        f"{name}.{field}"
        for name, model in SCHEMA["components"]["schemas"].items()
        for field, value in model.get("properties", {}).items()
        if not ({"examples", "const", "default", "$ref"} & value.keys() or value.get("type") == "null")
        and not {"$ref", "oneOf"} & value.get("items", {}).keys()
        and not name.startswith("Body_")  # FastAPI generates this model for a form
    ]

    assert missing == []


@every_operation
def test_an_authenticated_operation_declares_401_and_403(operation: dict[str, Any]) -> None:
    scopes = {scope for scheme in operation.get("security", []) for scopes_needed in scheme.values() for scope in scopes_needed}

    assert "401" in operation["responses"] or operation["security"] == []
    needs_permission = bool(scopes) or operation["operationId"] == "get_metrics"  # get_metrics requires a staff session
    assert ("403" in operation["responses"]) == needs_permission or operation["security"] == []


@every_operation
def test_an_operation_has_a_model_for_every_error(operation: dict[str, Any]) -> None:
    errors = {int(status) for status in operation["responses"] if status >= "4"} - {422, 503}

    assert {model(operation, status) for status in errors} <= {"ErrorBody", "TokenErrorBody"}


@every_operation
def test_an_operation_has_an_example(operation: dict[str, Any]) -> None:
    errors = {status for status in operation["responses"] if status >= "4"}
    successes = {**operation, "responses": {s: r for s, r in operation["responses"].items() if s not in errors}}

    assert "examples" in set(keys(resolve(successes)))


@every_operation
def test_a_required_parameter_has_an_example(operation: dict[str, Any]) -> None:
    missing = [p["name"] for p in operation.get("parameters", []) if p["required"] and "examples" not in set(keys(resolve(p)))]

    assert missing == []


@pytest.mark.pitfall(20)
def test_every_route_is_a_background_route() -> None:
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    ours = [route for route in routes if isinstance(route, APIRoute)]

    assert sum(route.include_in_schema for route in ours) == len(OPERATIONS)
    assert [route.path for route in ours if not isinstance(route, BackgroundRoute)] == []


# The document


@pytest.mark.pitfall(16)
def test_the_document_names_the_server_prefix(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()

    assert document["servers"] == [{"url": "/api"}]


@pytest.mark.pitfall(16)
def test_every_path_of_the_document_exists(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    (server,) = document["servers"]
    paths = [path for path, operations in document["paths"].items() if "get" in operations]

    answers = {path: client.get(server["url"] + path).status_code for path in paths}

    assert 404 not in answers.values()


def test_the_document_declares_the_security_schemes(client: TestClient) -> None:
    schemes = client.get("/api/openapi.json").json()["components"]["securitySchemes"]

    assert schemes["token"]["flows"] == {"password": {"tokenUrl": "/api/token", "scopes": SCOPES}}
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "sessionid")


# The documentation pages


def fetched_urls(page: str) -> list[str]:
    """Return the URLs that a browser fetches when it opens the page."""
    return re.findall(r"""(?:src|href|spec-url)="([^"]+)"|url: '([^']+)'""", page)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_everything_from_this_server(client: TestClient, path: str) -> None:
    page = client.get(path)
    fetched = ["".join(url) for url in fetched_urls(page.text)]

    assert page.status_code == 200
    assert len(fetched) >= 3
    assert {link: client.get(link).status_code for link in fetched} == dict.fromkeys(fetched, 200)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_mentions_no_other_host(client: TestClient, path: str) -> None:
    page = client.get(path).text

    assert re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]+", page) == []
    assert {urlsplit("".join(link)).netloc for link in fetched_urls(page)} == {""}


def test_redoc_does_not_fetch_its_vendors_logo(client: TestClient) -> None:
    script = client.get("/api/redoc/redoc.js")

    assert script.headers["Content-Type"].startswith("text/javascript")
    assert "cdn.redoc.ly" not in script.text


def test_swagger_ui_does_not_store_credentials(client: TestClient) -> None:
    script = client.get("/api/docs/swagger.js").text

    assert "persistAuthorization" not in script
    assert 'localStorage.removeItem("authorized")' in script


@pytest.mark.parametrize(
    "path", ["docs", "docs/swagger.js", "docs/files/swagger-ui-dist/swagger-ui.css", "redoc", "redoc/redoc.js", "openapi.json"]
)
def test_the_documentation_can_be_switched_off(path: str, settings: Settings) -> None:
    settings.API_DOCS = False

    response = TestClient(create_app(), root_path="/api").get(f"/api/{path}")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")
