"""Rejects query parameters that a route does not have. A misspelled filter would otherwise select everything."""

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.requests import HTTPConnection

MAX_REPORTED_PARAMETERS = 20
MAX_REPORTED_LENGTH = 100  # characters of a name


async def reject_unknown_query(connection: HTTPConnection) -> None:
    """Raise a validation error that names the unknown query parameters.

    A dependency of public routes. The dependencies that authenticate the caller call this function after they have succeeded.
    """
    names = connection.query_params.keys()
    if not names:
        return
    known = _query_parameters(connection.scope["route"].dependant)
    unknown = [name for name in names if name not in known]
    if unknown:
        message = f"Unknown query parameter. Known: {', '.join(sorted(known)) or 'none'}."
        problems = [
            {"loc": ("query", name[:MAX_REPORTED_LENGTH]), "msg": message, "type": "extra_forbidden"}
            for name in unknown[:MAX_REPORTED_PARAMETERS]
        ]
        is_websocket = connection.scope["type"] == "websocket"
        raise (WebSocketRequestValidationError if is_websocket else RequestValidationError)(problems)


def _query_parameters(dependant: Dependant) -> frozenset[str]:
    own = frozenset(field.alias for field in dependant.query_params)
    return own.union(*map(_query_parameters, dependant.dependencies))


NO_UNKNOWN_QUERY = [Depends(reject_unknown_query)]  # the dependencies of a public route
