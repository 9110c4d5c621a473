"""Renders the templates of the emails in a request. Runs before submission, which stores the final content."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fastapi.exceptions import RequestValidationError

from fastapi_app.emails.schemas import EmailIn
from project.bridge.database.read_transactions import run_lookup
from project.bridge.database.transactions import run_in_thread
from project.emails.mime.builder import Draft
from project.mail_templates.liquid import TemplateInvalid
from project.mail_templates.render_budget import RequestBudget
from project.mail_templates.store import LoadedTemplate, load_templates

MAX_RENDERED_CHARACTERS = 64 * 1024 * 1024  # output of the templates of one request

EMAILS_BETWEEN_PAUSES = 20
PARTS = ("subject", "text", "html")

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class RenderedEmail:
    """An email's content, and the id of the template version that it was rendered from, if any."""

    draft: Draft
    template_id: int | None = None


async def render_emails(emails: Mapping[Location, EmailIn]) -> list[RenderedEmail]:
    """Render the emails, in order. Raises `RequestValidationError` with the location of the email that cannot be rendered."""
    slugs = {email.template for email in emails.values() if email.template is not None}
    templates = await run_lookup(load_templates, slugs) if slugs else {}
    rendered, size, budget = [], 0, RequestBudget()
    for location, email in emails.items():
        result = await _render(email, templates, location, budget)
        size += len(result.draft.text or "") + len(result.draft.html or "") if result.template_id else 0
        if size > MAX_RENDERED_CHARACTERS:
            message = f"The rendered emails are larger than {MAX_RENDERED_CHARACTERS} characters."
            raise _validation_error((*location, "template"), message, "template_limit")
        rendered.append(result)
        if len(rendered) % EMAILS_BETWEEN_PAUSES == 0:
            await asyncio.sleep(0)  # so that a large batch alternates with other requests
    return rendered


async def _render(
    email: EmailIn, templates: dict[str, LoadedTemplate], location: Location, budget: RequestBudget
) -> RenderedEmail:
    if email.template is None:
        return RenderedEmail(email.draft())
    if email.template not in templates:
        raise _validation_error((*location, "template"), f"Template {email.template} not found.", "template_not_found")
    template = templates[email.template]
    overrides = {part: text for part in PARTS if (text := getattr(email, part))}  # parts in the request override the template
    with _as_validation_error(location):
        # One thread call per email, so that a large batch alternates with the emails of other requests.
        parts = await run_in_thread(template.render, email.variables, without=overrides, request=budget)
    draft = replace(email.draft(), **{part: overrides.get(part, getattr(parts, part)) for part in PARTS})
    return RenderedEmail(draft, template.template_id)


@contextmanager
def _as_validation_error(location: Location) -> Iterator[None]:
    try:
        yield
    except TemplateInvalid as error:
        field = "variables" if error.kind == "template_variable" else "template"
        raise _validation_error((*location, field), error.detail, error.kind) from error


def _validation_error(location: Location, message: str, error_type: str) -> RequestValidationError:
    return RequestValidationError([{"loc": location, "msg": message, "type": error_type}])
