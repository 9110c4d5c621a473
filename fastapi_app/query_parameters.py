"""Rejects query parameters that a route does not have, or that are repeated.

A misspelled filter would otherwise select everything, and only the last of two values would count.
"""

from collections import Counter
from collections.abc import Iterator

from fastapi._compat import ModelField, field_annotation_is_sequence
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.requests import HTTPConnection

MAX_REPORTED_PARAMETERS = 20
MAX_REPORTED_LENGTH = 100  # characters of a name


async def reject_unknown_query(connection: HTTPConnection) -> None:
    """Raise a validation error that names the unknown query parameters, and repeated ones that have only one value.

    Public routes call this function first. The dependencies that authenticate the caller call it after they have succeeded.
    """
    if not connection.query_params:
        return
    known = {field.alias: field for field in _query_parameters(connection.scope["route"].dependant)}
    counts = Counter(name for name, _ in connection.query_params.multi_items())
    unknown_message = f"Unknown query parameter. Known: {', '.join(sorted(known)) or 'none'}."
    unknown = [_problem(name, unknown_message, "extra_forbidden") for name in counts if name not in known]
    repeated = [
        _problem(name, "The query parameter may occur only once.", "repeated")
        for name, count in counts.items()
        if count > 1 and name in known and not field_annotation_is_sequence(known[name].field_info.annotation)
    ]
    if problems := [*unknown, *repeated][:MAX_REPORTED_PARAMETERS]:
        is_websocket = connection.scope["type"] == "websocket"
        raise (WebSocketRequestValidationError if is_websocket else RequestValidationError)(problems)


def _problem(name: str, message: str, kind: str) -> dict[str, object]:
    return {"loc": ("query", name[:MAX_REPORTED_LENGTH]), "msg": message, "type": kind}


def _query_parameters(dependant: Dependant) -> Iterator[ModelField]:
    yield from dependant.query_params
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)
