"""Mails that are made from templates: rendered before they are accepted, since what is accepted is what is sent."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fastapi.exceptions import RequestValidationError

from fastapi_app.emails.schemas import EmailIn
from project.bridge import database
from project.outbox import mime
from project.outbox.liquid import TemplateInvalid
from project.outbox.templates import Rendering, renderings

BATCH_SIZE = 64 * 1024 * 1024  # characters that templates make of one request

PARTS = ("subject", "text", "html")

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Made:
    """A mail to send, and the version of the template that it was made from, if it was."""

    draft: mime.Draft
    template_id: int | None = None


async def made(emails: Mapping[Place, EmailIn]) -> list[Made]:
    """The mails with what their templates make of their variables. What is wrong with one is a 422 that names its place."""
    slugs = {email.template for email in emails.values() if email.template is not None}
    found = await database.run(renderings, slugs) if slugs else {}
    mails, size = [], 0
    for place, email in emails.items():
        mail = await _made(email, found, place)
        size += len(mail.draft.text or "") + len(mail.draft.html or "") if mail.template_id else 0
        if size > BATCH_SIZE:
            raise _problem((*place, "template"), f"the mails become larger than {BATCH_SIZE} characters", "template_limit")
        mails.append(mail)
    return mails


async def _made(email: EmailIn, found: dict[str, Rendering], place: Place) -> Made:
    if email.template is None:
        return Made(email.draft())
    if email.template not in found:
        raise _problem((*place, "template"), f"there is no template {email.template}", "template_not_found")
    rendering = found[email.template]
    own = {part: given for part in PARTS if (given := getattr(email, part))}  # what a mail brings itself counts
    with _told(place):
        # Each by itself, so that many take turns with those of others.
        parts = await database.run_aside(rendering.render, email.variables, without=own)
    return Made(replace(email.draft(), **{part: own.get(part, getattr(parts, part)) for part in PARTS}), rendering.template_id)


@contextmanager
def _told(place: Place) -> Iterator[None]:
    try:
        yield
    except TemplateInvalid as error:
        field = "variables" if error.kind == "template_variable" else "template"
        raise _problem((*place, field), error.detail, error.kind) from error


def _problem(place: Place, message: str, kind: str) -> RequestValidationError:
    return RequestValidationError([{"loc": place, "msg": message, "type": kind}])
