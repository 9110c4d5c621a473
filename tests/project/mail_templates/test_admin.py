"""Templates in the admin: editing, earlier versions, and previews."""

import html
from collections.abc import Callable

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client, RequestFactory

from project.accounts.models import User
from project.emails.models import Email
from project.mail_templates.liquid import CompiledTemplate, EmailParts
from project.mail_templates.models import Template
from project.mail_templates.store import delete_template, put_template
from tests.project.conftest import NOW, SubmitEmail

LIST = "/admin/mail_templates/template/"
FORM = {"subject": "Welcome, {{ name }}", "text": "Hi {{ name }}", "html": "<b>Hi {{ name }}</b>"}


@pytest.fixture
def template(db: None) -> Template:
    """Create version 1 of a template, and return this version."""
    return put_template("welcome", CompiledTemplate(EmailParts(**FORM)), now=NOW)


def change_url(template: Template) -> str:
    """Return the URL of a version's change page."""
    return f"{LIST}{template.pk}/change/"


def preview(browser: Client, variables: str, **form: str) -> str:
    """Return the HTML of the preview, unescaped."""
    return html.unescape(browser.post(f"{LIST}preview/", {**FORM, **form, "variables": variables}).content.decode())


# Editing


def test_creates_a_template(browser: Client, db: None) -> None:
    browser.post(f"{LIST}add/", {"slug": "welcome", **FORM})

    row = Template.objects.get()
    assert (row.slug, row.version, row.is_current) == ("welcome", 1, True)
    assert {"subject": row.subject, "text": row.text, "html": row.html} == FORM


def test_an_edit_creates_a_version_and_redirects_to_it(browser: Client, template: Template) -> None:
    response = browser.post(change_url(template), {**FORM, "text": "Hello\r\n{{ name }}\r\n", "_continue": "1"})

    template.refresh_from_db()
    edited = Template.objects.get(version=2)
    assert (template.text, template.is_current) == ("Hi {{ name }}", False)
    assert (edited.text, edited.is_current) == ("Hello\n{{ name }}\n", True)
    assert response["Location"] == change_url(edited)


def test_shows_the_part_and_line_of_a_syntax_error(browser: Client, template: Template) -> None:
    page = browser.post(change_url(template), {**FORM, "html": "<b>\r\n{{ name"}).content.decode()

    assert "html, line 2:" in html.unescape(page)
    assert Template.objects.count() == 1


@pytest.mark.parametrize("slug", ["Welcome", "welcome"])
def test_rejects_a_slug_that_is_invalid_or_in_use(browser: Client, template: Template, slug: str) -> None:
    page = browser.post(f"{LIST}add/", {"slug": slug, **FORM})

    assert page.context["adminform"].form.errors.keys() == {"slug"}
    assert Template.objects.count() == 1


def test_rejects_a_template_without_text_and_html(browser: Client, template: Template) -> None:
    page = browser.post(change_url(template), {"subject": "Welcome", "text": "", "html": ""})

    assert "Enter text, HTML or both." in page.content.decode()


@pytest.mark.parametrize("subject", ["Hi\nBcc: eve@example.com", "Hi\rthere", "Hi\u202eereht", "Hi\x1b[2K"])
def test_rejects_a_misleading_subject_as_the_api_does(browser: Client, template: Template, subject: str) -> None:
    page = browser.post(change_url(template), {**FORM, "subject": subject})

    assert page.context["adminform"].form.errors.keys() == {"subject"}
    assert Template.objects.count() == 1


def test_deleting_a_template_keeps_the_versions_of_sent_emails(
    browser: Client, template: Template, submit_email: SubmitEmail
) -> None:
    Email.objects.filter(pk=submit_email().pk).update(template=template)

    browser.post(f"{LIST}{template.pk}/delete/", {"post": "yes"})

    assert [row.is_current for row in Template.objects.all()] == [False]
    assert list(browser.get(LIST).context["cl"].result_list) == []


def test_deletes_several_templates(browser: Client, template: Template) -> None:
    other = put_template("other", CompiledTemplate(EmailParts(text="Hi")), now=NOW)
    form = {"action": "delete_selected", "_selected_action": [template.pk, other.pk], "post": "yes"}

    browser.post(LIST, form)

    assert not Template.objects.filter(is_current=True).exists()


@pytest.mark.django_db(transaction=True)
def test_deletes_each_template_in_its_own_transaction(template: Template, browser: Client) -> None:
    """Check this because PostgreSQL allows SELECT FOR UPDATE only in a transaction."""
    put_template("other", CompiledTemplate(EmailParts(text="Hi")), now=NOW)
    in_transaction: list[bool] = []

    def record_updates(execute: Callable[..., object], sql: str, *args: object) -> object:
        in_transaction.extend([connection.in_atomic_block] if sql.startswith('UPDATE "mail_templates_template"') else [])
        return execute(sql, *args)

    with connection.execute_wrapper(record_updates):
        browser.post(
            LIST,
            {"action": "delete_selected", "_selected_action": [*Template.objects.values_list("pk", flat=True)], "post": "yes"},
        )

    assert in_transaction == [True, True]


@pytest.mark.usefixtures("db")
def test_ignores_a_template_that_another_user_has_deleted(rf: RequestFactory, template: Template) -> None:
    other, admin = put_template("other", CompiledTemplate(EmailParts(text="Hi")), now=NOW), site.get_model_admin(Template)
    delete_template("other")

    admin.delete_model(rf.post("/"), other)
    admin.delete_queryset(rf.post("/"), Template.objects.order_by("slug"))

    assert not Template.objects.filter(is_current=True).exists()


# Versions


def test_lists_the_current_versions(browser: Client, template: Template) -> None:
    edited = put_template("welcome", CompiledTemplate(EmailParts(text="Hello")), now=NOW)

    assert list(browser.get(LIST).context["cl"].result_list) == [edited]


def test_an_earlier_version_is_read_only(browser: Client, template: Template) -> None:
    edited = put_template("welcome", CompiledTemplate(EmailParts(text="Hello")), now=NOW)

    assert f'href="{change_url(template)}"' in browser.get(change_url(edited)).content.decode()
    assert "Hi {{ name }}" in browser.get(change_url(template)).content.decode()
    assert browser.post(change_url(template), FORM).status_code == 403
    assert browser.post(f"{LIST}{template.pk}/delete/", {"post": "yes"}).status_code == 403


# Preview


def test_previews_the_unsaved_form(browser: Client, db: None) -> None:
    html_of_preview = preview(browser, '{"name": "<Ada>"}', subject="New, {{ name }}")

    assert "New, <Ada>" in html_of_preview
    assert 'sandbox="" srcdoc="<b>Hi &lt;Ada&gt;</b>"' in html_of_preview
    assert "Hi <Ada></pre>" in html_of_preview
    assert not Template.objects.exists()


def test_a_preview_loads_no_frames(browser: Client, db: None) -> None:
    html_of_preview = preview(browser, '{"name": "x.example"}', html='<iframe src="https://{{ name }}/">')

    assert 'srcdoc="<x-iframe src="https://x.example/">"' in html_of_preview


def test_previews_an_earlier_version(browser: Client, template: Template) -> None:
    put_template("welcome", CompiledTemplate(EmailParts(text="Hello")), now=NOW)

    html_of_preview = preview(browser, '{"name": "Ada"}', version=str(template.pk), text="not this")

    assert "Hi Ada</pre>" in html_of_preview


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ('{"nam": "Ada"}', "subject, line 1: unknown variable 'name'"),
        ('{"name": ', "variables: Expecting value: line 1 column 10"),
        ("[1]", 'variables: must be a JSON object, such as {"name": "Ada"}'),
        ("", "subject, line 1: unknown variable 'name'"),
    ],
)
def test_a_preview_shows_the_error(browser: Client, db: None, variables: str, reason: str) -> None:
    assert reason in preview(browser, variables)


def test_a_preview_has_a_strict_content_security_policy(browser: Client, db: None) -> None:
    response = browser.post(f"{LIST}preview/", {**FORM, "variables": '{"name": "Ada"}'})

    policy = response["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "img-src data:", "script-src 'self'", "frame-ancestors 'self'"} <= set(policy)
    assert response["X-Frame-Options"] == "SAMEORIGIN"


def test_a_preview_needs_the_view_permission(teammate: User) -> None:
    client = Client()
    client.force_login(teammate)

    forbidden = client.post(f"{LIST}preview/", {**FORM, "variables": "{}"})
    teammate.user_permissions.add(Permission.objects.get(codename="view_template"))

    assert forbidden.status_code == 403
    assert client.post(f"{LIST}preview/", {**FORM, "variables": "{}"}).status_code == 200
    assert client.get(f"{LIST}preview/").status_code == 405
