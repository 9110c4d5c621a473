"""Templates: versions, deletion and rendering."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from project.emails.mime.builder import Draft
from project.emails.models import Email
from project.emails.submit import NewEmail, prepare_email, submit_batch
from project.mail_templates.liquid import CompiledTemplate, EmailParts
from project.mail_templates.models import Template
from project.mail_templates.store import (
    TemplateNotFound,
    delete_template,
    get_template,
    list_templates,
    load_template,
    load_templates,
    put_template,
)
from tests.project.conftest import NOW

pytestmark = pytest.mark.django_db


def put(slug: str = "welcome", text: str = "Hi {{ name }}", subject: str = "", html: str = "") -> Template:
    """Store a new version of a template, and return this version."""
    return put_template(slug, CompiledTemplate(EmailParts(subject, text, html)), now=NOW)


def test_each_put_creates_the_next_version() -> None:
    first, second = put(text="one"), put(text="two")

    assert (first.version, second.version, get_template("welcome").text) == (1, 2, "two")


def test_a_new_version_does_not_change_the_old_one() -> None:
    first = put(text="one")

    put(text="two")

    first.refresh_from_db()
    assert (first.text, first.is_current, first.created_at) == ("one", False, NOW)


def test_each_template_counts_its_own_versions() -> None:
    put("a")

    assert put("b").version == 1


def test_a_deleted_template_is_not_found() -> None:
    put()

    delete_template("welcome")

    with pytest.raises(TemplateNotFound, match="Template welcome not found"):
        get_template("welcome")
    with pytest.raises(TemplateNotFound, match="Template welcome not found"):
        delete_template("welcome")
    with pytest.raises(TemplateNotFound, match="Template welcome not found"):
        load_template("welcome")


def test_version_numbers_continue_after_a_deletion() -> None:
    put(text="one")
    delete_template("welcome")

    assert put(text="two").version == 2
    assert get_template("welcome").text == "two"


def test_an_email_keeps_its_version_when_the_template_is_deleted() -> None:
    template = put()
    draft = Draft(sender="shop@example.com", to=("ada@example.com",), subject="", text="Hi")
    submit_batch([prepare_email(NewEmail(draft, template_id=template.pk), now=NOW)])

    delete_template("welcome")

    assert Email.objects.get().template == template


def test_lists_the_current_versions_by_slug() -> None:
    for slug in ("b", "a", "c", "a"):
        put(slug)
    put("d")
    delete_template("d")

    listed = list_templates(limit=10)

    assert [(template.slug, template.version) for template in listed] == [("a", 2), ("b", 1), ("c", 1)]


def test_lists_one_more_than_the_limit_after_a_slug() -> None:
    for slug in ("a", "b", "c", "d"):
        put(slug)

    assert [template.slug for template in list_templates(after="a", limit=1)] == ["b", "c"]


def test_only_one_version_can_be_current() -> None:
    put()

    with pytest.raises(IntegrityError), transaction.atomic():
        Template.objects.create(slug="welcome", version=2, created_at=NOW + timedelta(days=1))


def test_renders_the_current_version() -> None:
    put(subject="For {{ name }}", html="<b>{{ name }}</b>")

    rendered = load_template("welcome").render({"name": "<Ada>"})

    assert (rendered.subject, rendered.text, rendered.html) == ("For <Ada>", "Hi <Ada>", "<b>&lt;Ada&gt;</b>")


def test_a_missing_part_is_none() -> None:
    put()

    assert load_template("welcome").render({"name": "Ada"}).html is None


def test_a_part_that_renders_to_nothing_is_an_empty_string() -> None:
    put(text="{% if name %}{% endif %}")

    assert load_template("welcome").render({"name": "Ada"}).text == ""


def test_loads_the_existing_templates_of_several_slugs() -> None:
    put("a")
    put("b")

    assert {slug: loaded.render({"name": "Ada"}).text for slug, loaded in load_templates(["a", "c"]).items()} == {"a": "Hi Ada"}
