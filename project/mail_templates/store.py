"""Create, read and delete templates. Versions never change. The last version is current unless the template was deleted."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet
from django.dispatch import Signal

from project.errors import DomainError
from project.mail_templates.liquid import CompiledTemplate, EmailParts
from project.mail_templates.models import Template
from project.mail_templates.render_budget import RequestBudget

template_saved = Signal()  # sent with `slug` and `version`, in the transaction
template_deleted = Signal()  # sent with `slug`, in the transaction


class TemplateNotFound(DomainError):
    """The template does not exist, or was deleted."""

    code = "template_not_found"


@dataclass(frozen=True)
class RenderedTemplate:
    """Rendered content of an email. A part is None if the template does not have it."""

    subject: str
    text: str | None
    html: str | None


def put_template(slug: str, template: CompiledTemplate, *, now: datetime) -> Template:
    """Create the next version and make it current."""
    created = None
    with suppress(IntegrityError), transaction.atomic():
        created = _next_version(slug, template.sources, now)
    if created is None:  # another request has created version 1, so now there is a row to lock
        created = _next_version(slug, template.sources, now)
    template_saved.send(sender=Template, slug=slug, version=created.version)
    return created


def _next_version(slug: str, sources: EmailParts, now: datetime) -> Template:
    versions, last = Template.objects.filter(slug=slug), 0
    if _lock_versions(versions):
        versions.filter(is_current=True).update(is_current=False)
        last = versions.aggregate(last=Max("version"))["last"]
    return Template.objects.create(
        slug=slug, version=last + 1, subject=sources.subject, text=sources.text, html=sources.html, created_at=now
    )


def _lock_versions(versions: QuerySet[Template]) -> bool:
    """Lock the first version, which is never deleted, to serialize changes of a template. Return False if none exists."""
    return versions.only("pk").select_for_update().order_by("version").first() is not None


def get_template(slug: str) -> Template:
    """Return the current version. Raises `TemplateNotFound`."""
    template = Template.objects.filter(slug=slug, is_current=True).first()
    if template is None:
        raise TemplateNotFound(f"Template {slug} not found.")
    return template


def delete_template(slug: str) -> None:
    """Delete a template: mark its current version as not current. Raises `TemplateNotFound`.

    The rows stay, because emails refer to the version they used.
    """
    versions = Template.objects.filter(slug=slug)
    if not _lock_versions(versions) or not versions.filter(is_current=True).update(is_current=False):
        raise TemplateNotFound(f"Template {slug} not found.")
    template_deleted.send(sender=Template, slug=slug)


def list_templates(*, after: str | None = None, limit: int = 20) -> list[Template]:
    """Return up to `limit` current versions after the slug `after`, in order of slug, without bodies.

    One more version is returned if there is a next page.
    """
    templates = Template.objects.filter(is_current=True).defer("text", "html").order_by("slug")
    if after is not None:
        templates = templates.filter(slug__gt=after)
    return list(templates[: limit + 1])


class LoadedTemplate:
    """One version of a template, compiled when it is first rendered.

    Compiling takes time, so it must not happen in the transaction that loads the version.
    """

    def __init__(self, template: Template) -> None:
        self.template_id = template.pk
        self._sources = EmailParts(template.subject, template.text, template.html)

    @cached_property
    def _compiled(self) -> CompiledTemplate:
        return CompiledTemplate(self._sources)

    def render(
        self, variables: Mapping[str, object], *, without: Collection[str] = (), request: RequestBudget | None = None
    ) -> RenderedTemplate:
        """Render all parts, except the parts in `without`. Raises `TemplateInvalid`."""
        parts = self._compiled.render(variables, without=without, request=request)
        text, html = (
            part if source else None for part, source in ((parts.text, self._sources.text), (parts.html, self._sources.html))
        )
        return RenderedTemplate(parts.subject, text, html)


def load_template(slug: str) -> LoadedTemplate:
    """Load the current version. Raises `TemplateNotFound`."""
    return LoadedTemplate(get_template(slug))


def load_templates(slugs: Iterable[str]) -> dict[str, LoadedTemplate]:
    """Load the current versions of several templates, by slug. Unknown slugs are left out."""
    templates = Template.objects.filter(slug__in=set(slugs), is_current=True)
    return {template.slug: LoadedTemplate(template) for template in templates}
