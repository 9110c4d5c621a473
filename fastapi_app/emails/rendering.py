"""Mails that are made from templates: rendered before they are accepted, since what is accepted is what is sent."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fastapi.exceptions import RequestValidationError

from fastapi_app.emails.schemas import EmailIn
from project.bridge.database.transactions import run_in_thread, run_in_transaction
from project.emails.mime.builder import Draft
from project.mail_templates.liquid import TemplateInvalid
from project.mail_templates.store import LoadedTemplate, load_templates

MAX_RENDERED_CHARACTERS = 64 * 1024 * 1024  # characters that templates make of one request

PARTS = ("subject", "text", "html")

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class RenderedEmail:
    """A mail to send, and the version of the template that it was made from, if it was."""

    draft: Draft
    template_id: int | None = None


async def render_emails(emails: Mapping[Location, EmailIn]) -> list[RenderedEmail]:
    """The mails with what their templates make of their variables. What is wrong with one is a 422 that names its place."""
    slugs = {email.template for email in emails.values() if email.template is not None}
    found = await run_in_transaction(load_templates, slugs) if slugs else {}
    mails, size = [], 0
    for place, email in emails.items():
        mail = await _render(email, found, place)
        size += len(mail.draft.text or "") + len(mail.draft.html or "") if mail.template_id else 0
        if size > MAX_RENDERED_CHARACTERS:
            raise _validation_error(
                (*place, "template"), f"the mails become larger than {MAX_RENDERED_CHARACTERS} characters", "template_limit"
            )
        mails.append(mail)
    return mails


async def _render(email: EmailIn, found: dict[str, LoadedTemplate], place: Location) -> RenderedEmail:
    if email.template is None:
        return RenderedEmail(email.draft())
    if email.template not in found:
        raise _validation_error((*place, "template"), f"there is no template {email.template}", "template_not_found")
    rendering = found[email.template]
    own = {part: given for part in PARTS if (given := getattr(email, part))}  # what a mail brings itself counts
    with _as_validation_error(place):
        # Each by itself, so that many take turns with those of others.
        parts = await run_in_thread(rendering.render, email.variables, without=own)
    return RenderedEmail(
        replace(email.draft(), **{part: own.get(part, getattr(parts, part)) for part in PARTS}), rendering.template_id
    )


@contextmanager
def _as_validation_error(place: Location) -> Iterator[None]:
    try:
        yield
    except TemplateInvalid as error:
        field = "variables" if error.kind == "template_variable" else "template"
        raise _validation_error((*place, field), error.detail, error.kind) from error


def _validation_error(place: Location, message: str, kind: str) -> RequestValidationError:
    return RequestValidationError([{"loc": place, "msg": message, "type": kind}])
