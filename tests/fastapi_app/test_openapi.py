"""OpenAPI: what a client can be generated from, and pages that work with no internet."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

from fastapi_app.main import app
from project.auth.scopes import SCOPES
from project.bridge.background.background_tasks import BackgroundRoute

SCHEMA: dict[str, Any] = app.openapi()
CALLS = [call for path in SCHEMA["paths"].values() for call in path.items()]
OPERATIONS = [operation for _method, operation in CALLS]
PAGES = ["/api/docs", "/api/redoc"]

IDS = [operation.get("operationId", "?") for operation in OPERATIONS]

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=IDS)


def resolved(part: Any) -> Any:
    """A part of the schema, with what it refers to in place."""
    if isinstance(part, list):
        return [resolved(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return resolved(SCHEMA["components"]["schemas"][part["$ref"].rpartition("/")[2]])
    return {key: resolved(value) for key, value in part.items()}


def keys(part: Any) -> Iterator[str]:
    """Every key in a part of the schema."""
    for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else []:
        yield from keys(item)
    yield from part if isinstance(part, dict) else ()


def named(name: str) -> dict[str, Any]:
    """One operation."""
    operation: dict[str, Any]
    (operation,) = (operation for operation in OPERATIONS if operation["operationId"] == name)
    return operation


def model(operation: dict[str, Any], status: int) -> str:
    """The name of what it answers with; of what may be either, the first."""
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    return str(schema.get("anyOf", [schema])[0]["$ref"]).rpartition("/")[2]


# Operations


@every_operation
def test_an_operation_says_what_it_is(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]


@every_operation
def test_an_operation_has_a_name_for_clients(operation: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])


def test_the_names_are_unique() -> None:
    names = [operation["operationId"] for operation in OPERATIONS]

    assert len(set(names)) == len(names)


@every_operation
def test_an_operation_has_a_model_for_its_answer(operation: dict[str, Any]) -> None:
    (success,) = (int(status) for status in operation["responses"] if status.startswith("2"))

    is_text = {"text/event-stream", "text/plain"} & operation["responses"][str(success)].get("content", {}).keys()
    assert success == 204 or is_text or SCHEMA["components"]["schemas"][model(operation, success)]["properties"]


@every_operation
def test_an_operation_that_takes_values_tells_how_it_refuses_them(operation: dict[str, Any]) -> None:
    takes_values = "parameters" in operation or "requestBody" in operation

    assert ("422" in operation["responses"]) == takes_values
    assert not takes_values or model(operation, 422) == "ValidationErrorBody"


@every_operation
def test_an_operation_that_takes_a_body_tells_how_it_refuses_one(operation: dict[str, Any]) -> None:
    assert ("400" in operation["responses"]) == ("requestBody" in operation)  # neither UTF-8 nor a form


@pytest.mark.parametrize(("method", "operation"), CALLS, ids=IDS)
def test_an_operation_that_may_be_sent_too_much_tells_so(method: str, operation: dict[str, Any]) -> None:
    assert ("413" in operation["responses"]) == (method != "get")  # whether it takes a body or not


@every_operation
def test_a_401_tells_how_to_say_who_is_calling(operation: dict[str, Any]) -> None:
    challenges = [r["headers"]["WWW-Authenticate"] for status, r in operation["responses"].items() if status == "401"]

    assert challenges in ([], [{"required": True, "schema": {"const": "Bearer"}}])


def test_sending_tells_what_may_follow() -> None:
    accepted = named("send_email")["responses"]["202"]
    names = {operation["operationId"] for operation in OPERATIONS}

    assert {link["operationId"] for link in accepted["links"].values()} < names


@pytest.mark.parametrize("name", ["send_email", "send_emails"])
def test_sending_tells_of_idempotency(name: str) -> None:
    operation = named(name)

    assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]]
    assert "Idempotent-Replayed" in operation["responses"]["202"]["headers"]
    assert "idempotency_key_reused" in operation["responses"]["422"]["description"]


def test_metrics_are_for_their_own_token_and_sessions() -> None:
    assert named("get_metrics")["security"] == [{"metrics": []}, {"session": []}]
    assert SCHEMA["components"]["securitySchemes"]["metrics"]["scheme"] == "bearer"


def test_the_stream_has_a_schema() -> None:
    (content,) = named("stream_events")["responses"]["200"]["content"].values()

    assert (content["schema"]["type"], "examples" in content["schema"]) == ("string", True)


@pytest.mark.parametrize("name", ["to", "cc", "bcc", "reply_to"])
def test_mailboxes_are_a_list_or_one(name: str) -> None:
    one, many = SCHEMA["components"]["schemas"]["EmailIn"]["properties"][name]["anyOf"]

    assert one == many["items"]
    assert (one["type"], one["format"], many["type"]) == ("string", "mailbox", "array")
    assert (many.get("minItems"), many["maxItems"]) == (1 if name == "to" else None, 50)


def test_a_model_shows_an_example_of_each_of_its_fields() -> None:
    silent = [
        f"{name}.{field}"
        for name, model in SCHEMA["components"]["schemas"].items()
        for field, value in model.get("properties", {}).items()
        if not ({"examples", "const", "default", "$ref"} & value.keys() or value.get("type") == "null")
        and not {"$ref", "oneOf"} & value.get("items", {}).keys()
        and not name.startswith("Body_")  # FastAPI's own, of a form
    ]

    assert silent == []


@every_operation
def test_an_operation_that_asks_who_is_calling_tells_how_it_refuses(operation: dict[str, Any]) -> None:
    scopes = {scope for way in operation.get("security", []) for needed in way.values() for scope in needed}

    assert "401" in operation["responses"] or "security" not in operation
    may_refuse = bool(scopes) or operation["operationId"] == "get_metrics"  # which is for staff
    assert ("403" in operation["responses"]) == may_refuse or "security" not in operation


@every_operation
def test_an_operation_has_a_model_for_every_error(operation: dict[str, Any]) -> None:
    errors = {int(status) for status in operation["responses"] if status >= "4"} - {422, 503}

    assert {model(operation, status) for status in errors} <= {"ErrorBody"}


@every_operation
def test_an_operation_shows_an_example(operation: dict[str, Any]) -> None:
    errors = {status for status in operation["responses"] if status >= "4"}
    told = {**operation, "responses": {s: r for s, r in operation["responses"].items() if s not in errors}}

    assert "examples" in set(keys(resolved(told)))


@every_operation
def test_a_value_that_must_be_given_shows_an_example(operation: dict[str, Any]) -> None:
    silent = [p["name"] for p in operation.get("parameters", []) if p["required"] and "examples" not in set(keys(resolved(p)))]

    assert silent == []


@pytest.mark.pitfall(20)
def test_every_route_hands_its_background_tasks_over() -> None:
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    ours = [route for route in routes if isinstance(route, APIRoute)]

    assert len(ours) == len(OPERATIONS)
    assert [route.path for route in ours if not isinstance(route, BackgroundRoute)] == []


# The document


@pytest.mark.pitfall(16)
def test_the_document_says_where_the_server_is(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()

    assert document["servers"] == [{"url": "/api"}]


@pytest.mark.pitfall(16)
def test_the_document_tells_paths_that_answer(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    (server,) = document["servers"]
    paths = [path for path, operations in document["paths"].items() if "get" in operations]

    answers = {path: client.get(server["url"] + path).status_code for path in paths}

    assert 404 not in answers.values()


def test_the_document_tells_how_to_authorize(client: TestClient) -> None:
    schemes = client.get("/api/openapi.json").json()["components"]["securitySchemes"]

    assert schemes["token"]["flows"] == {"password": {"tokenUrl": "/api/token", "scopes": SCOPES}}
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "sessionid")


# The pages


def links(page: str) -> list[str]:
    """What a page makes a browser fetch."""
    return re.findall(r"""(?:src|href|spec-url)="([^"]+)"|url: '([^']+)'""", page)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_gets_all_it_needs_from_us(client: TestClient, path: str) -> None:
    page = client.get(path)
    fetched = ["".join(link) for link in links(page.text)]

    assert page.status_code == 200
    assert len(fetched) >= 3
    assert {link: client.get(link).status_code for link in fetched} == dict.fromkeys(fetched, 200)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_mentions_no_other_host(client: TestClient, path: str) -> None:
    page = client.get(path).text

    assert re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]+", page) == []
    assert {urlsplit("".join(link)).netloc for link in links(page)} == {""}


def test_redoc_does_not_fetch_its_makers_logo(client: TestClient) -> None:
    script = client.get("/api/redoc/redoc.js")

    assert script.headers["Content-Type"].startswith("text/javascript")
    assert "cdn.redoc.ly" not in script.text


def test_swagger_ui_remembers_who_is_authorized(client: TestClient) -> None:
    page = client.get("/api/docs/swagger.js").text

    assert "persistAuthorization: true" in page
