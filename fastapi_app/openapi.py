"""The OpenAPI document: FastAPI's document, made strictly valid OpenAPI 3.1 and safe to generate clients from."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder

from fastapi_app.dependencies import CALLER_SCHEMES
from fastapi_app.error_responses import CHECKED_RESPONSES

Json = dict[str, Any]

TAGS = [
    {"name": "emails", "description": "Send emails, look them up, and cancel, retry or reschedule them."},
    {"name": "events", "description": "What happened to emails, as a list or as a live stream."},
    {"name": "templates", "description": "Liquid templates with versions."},
    {"name": "suppressions", "description": "Addresses that receive no more email."},
    {"name": "auth", "description": "Access tokens, and the authenticated caller."},
    {"name": "health", "description": "Health checks and metrics for operators."},
    {"name": "examples", "description": "The examples of the FastAPI notes, each at the path that the notes show."},
]
INFO: Json = {
    "summary": "Send email with one POST, and watch its delivery live.",
    "contact": {"name": "The administrator of this Mailrail server"},
    "license_info": {"name": "MIT", "identifier": "MIT"},
}
METHODS = ("get", "put", "post", "delete", "patch")


def add_openapi(app: FastAPI) -> None:
    """Let `app.openapi` return the corrected document."""
    generate = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = correct_document(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend the document


def correct_document(document: Json) -> Json:
    """Change FastAPI's document in place, and return it.

    Request schemas lose their defaults: generated clients would send them as if the caller had chosen them, and TypeScript's
    types would require these fields. Operations without a credential say so, and all operations declare the responses to an
    unknown query parameter or media type. The schema of the event stream loses `itemSchema`, which belongs to OpenAPI 3.2.
    """
    schemas = document["components"]["schemas"]
    schemes = {scheme.scheme_name: jsonable_encoder(scheme.model, exclude_none=True) for scheme in CALLER_SCHEMES}
    document["components"]["securitySchemes"] = {**schemes, **document["components"].get("securitySchemes", {})}
    for operation in _operations(document):
        operation.setdefault("security", [])
        _declare_checks(operation)
        for content in operation["responses"]["200"].get("content", {}).values() if "200" in operation["responses"] else ():
            content.pop("itemSchema", None)
        for media_type in operation.get("requestBody", {}).get("content", {}).values():
            _remove_defaults(media_type["schema"], schemas, seen=set())
    return document


def _operations(document: Json) -> Iterator[Json]:
    for item in document["paths"].values():
        yield from (item[method] for method in METHODS if method in item)


def _declare_checks(operation: Json) -> None:
    statuses = ["422", "415"] if "requestBody" in operation else ["422"]
    for status in statuses:
        operation["responses"].setdefault(status, CHECKED_RESPONSES[status])


def _remove_defaults(node: Any, schemas: Json, *, seen: set[str]) -> None:
    """Remove `default` from a schema and from all schemas that it refers to."""
    if isinstance(node, list):
        for item in node:
            _remove_defaults(item, schemas, seen=seen)
    elif isinstance(node, dict):
        node.pop("default", None)
        # A property may itself be called "default", so only the values of `properties` are schemas.
        parts = [list(value.values()) if key == "properties" else value for key, value in node.items() if key != "examples"]
        _remove_defaults(parts, schemas, seen=seen)
        name = node.get("$ref", "").rpartition("/")[2]
        if name and name not in seen:
            seen.add(name)
            _remove_defaults(schemas[name], schemas, seen=seen)
