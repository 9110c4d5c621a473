"""Templates: keep them, and see what becomes of them."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Security

from fastapi_app.deps import caller
from fastapi_app.errors import problems
from fastapi_app.pages import Limit
from fastapi_app.templates.schemas import Preview, PreviewIn, Slug, TemplateIn, TemplateOut, TemplatePage
from project.accounts.principal import Principal
from project.bridge import database
from project.bridge.background import BackgroundRoute
from project.outbox.liquid import Parsed, Parts
from project.outbox.templates import delete_template, get_template, list_templates, put_template, rendering

router = APIRouter(route_class=BackgroundRoute, prefix="/templates", tags=["templates"])

Name = Annotated[Slug, Path(examples=["welcome"])]
Reader = Annotated[Principal, Security(caller, scopes=["templates:read"])]
Writer = Annotated[Principal, Security(caller, scopes=["templates:write"])]


@router.get("", summary="List templates", operation_id="list_templates", responses=problems(401, 403, 422))
async def list_(
    _who: Reader,
    after: Annotated[Slug | None, Query(description="A slug, of a template or not")] = None,
    limit: Limit = 20,
) -> TemplatePage:
    """All that are, by slug."""
    templates = await database.run(list_templates, after=after, limit=limit)
    return TemplatePage.of(templates, limit, cursor=lambda template: template.slug)


@router.get("/{slug}", summary="Get a template", operation_id="get_template", responses=problems(401, 403, 404, 422))
async def get(slug: Name, _who: Reader) -> TemplateOut:
    """The current version."""
    return TemplateOut.model_validate(await database.run(get_template, slug))


@router.put("/{slug}", summary="Put a template", operation_id="put_template", responses=problems(400, 401, 403, 413, 422))
async def put(slug: Name, template: TemplateIn, _who: Writer) -> TemplateOut:
    """Make the next version, which mails are made from henceforth. What was accepted before stays as it is."""
    sources = Parts(template.subject, template.text or "", template.html or "")
    parsed = await database.run_aside(Parsed, sources)
    return TemplateOut.model_validate(await database.run(put_template, slug, parsed, now=datetime.now(UTC)))


@router.delete(
    "/{slug}",
    summary="Delete a template",
    operation_id="delete_template",
    status_code=204,
    responses=problems(401, 403, 404, 413, 422),
)
async def delete(slug: Name, _who: Writer) -> None:
    """Make no more mails from it. Those that were accepted are sent."""
    await database.run(delete_template, slug)


@router.post(
    "/{slug}/preview",
    summary="Preview a template",
    operation_id="preview_template",
    responses=problems(400, 401, 403, 404, 413, 422),
)
async def preview(slug: Name, wanted: PreviewIn, _who: Reader) -> Preview:
    """What a mail would hold, with these variables. Nothing is sent."""
    template = await database.run(rendering, slug)
    return Preview.model_validate(await database.run_aside(template.render, wanted.variables))
