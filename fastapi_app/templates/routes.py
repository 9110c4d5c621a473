"""Template routes: list, read, write, delete and preview."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Security

from fastapi_app.api_route import ApiRouter
from fastapi_app.dependencies import require_principal
from fastapi_app.error_responses import openapi_errors
from fastapi_app.pagination import Limit
from fastapi_app.templates.schemas import PreviewRequest, Slug, TemplateIn, TemplateOut, TemplatePage, TemplatePreview
from project.auth.principal import Principal
from project.bridge.database.read_transactions import run_in_read_transaction
from project.bridge.database.transactions import run_in_thread, run_in_transaction
from project.mail_templates.liquid import CompiledTemplate, EmailParts
from project.mail_templates.store import delete_template, get_template, list_templates, load_template, put_template

router = ApiRouter(prefix="/templates", tags=["templates"])

TemplateSlug = Annotated[Slug, Path(examples=["welcome"])]
Reader = Annotated[Principal, Security(require_principal, scopes=["templates:read"])]
Writer = Annotated[Principal, Security(require_principal, scopes=["templates:write"])]


@router.get("", summary="List templates", operation_id="list_templates", responses=openapi_errors(401, 403, 422))
async def list_(
    _principal: Reader,
    after: Annotated[Slug | None, Query(description="Return templates after this slug, in alphabetical order")] = None,
    limit: Limit = 20,
) -> TemplatePage:
    """List templates in alphabetical order of their slugs, without their bodies."""
    templates = await run_in_read_transaction(list_templates, after=after, limit=limit)
    return TemplatePage.of(templates, limit, cursor=lambda template: template.slug)


@router.get("/{slug}", summary="Get a template", operation_id="get_template", responses=openapi_errors(401, 403, 404, 422))
async def get(slug: TemplateSlug, _principal: Reader) -> TemplateOut:
    """Return the current version of a template."""
    return TemplateOut.model_validate(await run_in_read_transaction(get_template, slug))


@router.put(
    "/{slug}",
    summary="Create a template version",
    operation_id="put_template",
    responses=openapi_errors(400, 401, 403, 413, 422),
)
async def put(slug: TemplateSlug, template: TemplateIn, _principal: Writer) -> TemplateOut:
    """Create a template, or a new version of an existing template.

    New emails use this version. Emails that were already accepted do not change.
    """
    sources = EmailParts(template.subject, template.text or "", template.html or "")
    compiled = await run_in_thread(CompiledTemplate, sources)
    return TemplateOut.model_validate(await run_in_transaction(put_template, slug, compiled, now=datetime.now(UTC)))


@router.delete(
    "/{slug}",
    summary="Delete a template",
    operation_id="delete_template",
    status_code=204,
    responses=openapi_errors(401, 403, 404, 413, 422),
)
async def delete(slug: TemplateSlug, _principal: Writer) -> None:
    """Delete a template. Emails that were already accepted are still sent."""
    await run_in_transaction(delete_template, slug)


@router.post(
    "/{slug}/preview",
    summary="Preview a template",
    operation_id="preview_template",
    responses=openapi_errors(400, 401, 403, 404, 413, 422),
)
async def preview(slug: TemplateSlug, body: PreviewRequest, _principal: Reader) -> TemplatePreview:
    """Render the current version with these variables, without sending an email."""
    template = await run_in_read_transaction(load_template, slug)
    return TemplatePreview.model_validate(await run_in_thread(template.render, body.variables))
