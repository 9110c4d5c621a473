"""Suppression list routes: list, add and remove."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Security
from pydantic import AfterValidator, Field
from starlette.convertors import PathConvertor, register_url_convertor

from fastapi_app.api_route import ApiRouter
from fastapi_app.dependencies import require_principal
from fastapi_app.error_responses import openapi_errors
from fastapi_app.fields import Storable
from fastapi_app.pagination import Limit
from fastapi_app.suppressions.schemas import SuppressionIn, SuppressionOut, SuppressionPage
from project.auth.principal import Principal
from project.bridge.database.read_transactions import run_in_read_transaction
from project.bridge.database.transactions import run_in_transaction
from project.emails.mime.email_addresses import normalize_address
from project.suppressions.store import list_suppressions, remove, suppress

router = ApiRouter(prefix="/suppressions", tags=["suppressions"])

Address = Annotated[
    str, AfterValidator(normalize_address), Field(json_schema_extra={"format": "email"}), Path(examples=["ada@example.com"])
]
Reader = Annotated[Principal, Security(require_principal, scopes=["suppressions:read"])]
Writer = Annotated[Principal, Security(require_principal, scopes=["suppressions:write"])]


class _AddressConvertor(PathConvertor):
    """Matches any non-empty text, because an email address may contain a slash before its @.

    Empty text would be the URL of the list. Line feeds match too, so that `Address` rejects them with a 422 instead of a 404.
    """

    regex = "(?s:.+)"


register_url_convertor("address", _AddressConvertor())


@router.get("", summary="List suppressions", operation_id="list_suppressions", responses=openapi_errors(401, 403, 422))
async def list_(
    _principal: Reader,
    after: Annotated[Storable | None, Query(description="Return addresses after this one, in alphabetical order")] = None,
    limit: Limit = 20,
) -> SuppressionPage:
    """List suppressed addresses in alphabetical order. The list applies to all emails of this service."""
    suppressions = await run_in_read_transaction(list_suppressions, after=after, limit=limit)
    return SuppressionPage.of(suppressions, limit, cursor=lambda suppression: suppression.address)


@router.put(
    "/{address:address}",
    summary="Add or update a suppression",
    operation_id="put_suppression",
    responses=openapi_errors(400, 401, 403, 413, 422),
)
async def put(address: Address, _principal: Writer, body: SuppressionIn | None = None) -> SuppressionOut:
    """Stop sending email to an address, or update the reason. The case of the address is ignored."""
    reason = body.reason if body is not None else ""
    return SuppressionOut.model_validate(await run_in_transaction(suppress, address, reason=reason, now=datetime.now(UTC)))


@router.delete(
    "/{address:address}",
    summary="Remove a suppression",
    operation_id="delete_suppression",
    status_code=204,
    responses=openapi_errors(401, 403, 404, 413, 422),
)
async def delete(address: Address, _principal: Writer) -> None:
    """Remove an address from the list, so that it can receive email again."""
    await run_in_transaction(remove, address)
