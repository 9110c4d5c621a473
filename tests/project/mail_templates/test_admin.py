"""The templates in the back office: each edit makes a version, and any can be tried."""

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
from tests.project.conftest import NOW, Accept

LIST = "/admin/mail_templates/template/"
FORM = {"subject": "Welcome, {{ name }}", "text": "Hi {{ name }}", "html": "<b>Hi {{ name }}</b>"}


@pytest.fixture
def template(db: None) -> Template:
    """The first version of one."""
    return put_template("welcome", CompiledTemplate(EmailParts(**FORM)), now=NOW)


def page_of(template: Template) -> str:
    """Where a version is."""
    return f"{LIST}{template.pk}/change/"


def preview(browser: Client, variables: str, **form: str) -> str:
    """What is in the frame, as it is read."""
    return html.unescape(browser.post(f"{LIST}preview/", {**FORM, **form, "variables": variables}).content.decode())


# Written


def test_makes_a_template(browser: Client, db: None) -> None:
    browser.post(f"{LIST}add/", {"slug": "welcome", **FORM})

    row = Template.objects.get()
    assert (row.slug, row.version, row.is_current) == ("welcome", 1, True)
    assert {"subject": row.subject, "text": row.text, "html": row.html} == FORM


def test_an_edit_makes_a_version_and_leads_to_it(browser: Client, template: Template) -> None:
    answer = browser.post(page_of(template), {**FORM, "text": "Hello\r\n{{ name }}\r\n", "_continue": "1"})

    template.refresh_from_db()
    edited = Template.objects.get(version=2)
    assert (template.text, template.is_current) == ("Hi {{ name }}", False)
    assert (edited.text, edited.is_current) == ("Hello\n{{ name }}\n", True)
    assert answer["Location"] == page_of(edited)


def test_says_what_is_wrong_with_a_part_and_where(browser: Client, template: Template) -> None:
    page = browser.post(page_of(template), {**FORM, "html": "<b>\r\n{{ name"}).content.decode()

    assert "html, line 2:" in html.unescape(page)
    assert Template.objects.count() == 1


@pytest.mark.parametrize("slug", ["Welcome", "welcome"])
def test_refuses_a_name_that_is_none_or_taken(browser: Client, template: Template, slug: str) -> None:
    page = browser.post(f"{LIST}add/", {"slug": slug, **FORM})

    assert page.context["adminform"].form.errors.keys() == {"slug"}
    assert Template.objects.count() == 1


def test_refuses_a_template_that_is_a_subject_alone(browser: Client, template: Template) -> None:
    page = browser.post(page_of(template), {"subject": "Welcome", "text": "", "html": ""})

    assert "A template has a text, or HTML, or both." in page.content.decode()


@pytest.mark.parametrize("subject", ["Hi\nBcc: eve@example.com", "Hi\rthere"])
def test_refuses_a_subject_of_two_lines_as_the_api_does(browser: Client, template: Template, subject: str) -> None:
    page = browser.post(page_of(template), {**FORM, "subject": subject})

    assert page.context["adminform"].form.errors.keys() == {"subject"}
    assert Template.objects.count() == 1


def test_deletes_a_template_and_keeps_what_was_sent(browser: Client, template: Template, accept: Accept) -> None:
    Email.objects.filter(pk=accept().pk).update(template=template)

    browser.post(f"{LIST}{template.pk}/delete/", {"post": "yes"})

    assert [row.is_current for row in Template.objects.all()] == [False]
    assert list(browser.get(LIST).context["cl"].result_list) == []


def test_deletes_several(browser: Client, template: Template) -> None:
    other = put_template("other", CompiledTemplate(EmailParts(text="Hi")), now=NOW)
    form = {"action": "delete_selected", "_selected_action": [template.pk, other.pk], "post": "yes"}

    browser.post(LIST, form)

    assert not Template.objects.filter(is_current=True).exists()


@pytest.mark.django_db(transaction=True)
def test_deletes_each_in_a_transaction_of_its_own(template: Template, browser: Client) -> None:
    """Which PostgreSQL asks of who locks a row."""
    put_template("other", CompiledTemplate(EmailParts(text="Hi")), now=NOW)
    before: list[bool] = []

    def watch(execute: Callable[..., object], sql: str, *args: object) -> object:
        before.extend([connection.in_atomic_block] if sql.startswith('UPDATE "mail_templates_template"') else [])
        return execute(sql, *args)

    with connection.execute_wrapper(watch):
        browser.post(
            LIST,
            {"action": "delete_selected", "_selected_action": [*Template.objects.values_list("pk", flat=True)], "post": "yes"},
        )

    assert before == [True, True]


@pytest.mark.usefixtures("db")
def test_what_somebody_else_has_deleted_is_no_failure(rf: RequestFactory, template: Template) -> None:
    other, in_admin = put_template("other", CompiledTemplate(EmailParts(text="Hi")), now=NOW), site.get_model_admin(Template)
    delete_template("other")

    in_admin.delete_model(rf.post("/"), other)
    in_admin.delete_queryset(rf.post("/"), Template.objects.order_by("slug"))

    assert not Template.objects.filter(is_current=True).exists()


# Looked at


def test_lists_the_current_versions(browser: Client, template: Template) -> None:
    edited = put_template("welcome", CompiledTemplate(EmailParts(text="Hello")), now=NOW)

    assert list(browser.get(LIST).context["cl"].result_list) == [edited]


def test_an_earlier_version_is_looked_at_and_not_changed(browser: Client, template: Template) -> None:
    edited = put_template("welcome", CompiledTemplate(EmailParts(text="Hello")), now=NOW)

    assert f'href="{page_of(template)}"' in browser.get(page_of(edited)).content.decode()
    assert "Hi {{ name }}" in browser.get(page_of(template)).content.decode()
    assert browser.post(page_of(template), FORM).status_code == 403
    assert browser.post(f"{LIST}{template.pk}/delete/", {"post": "yes"}).status_code == 403


# Tried


def test_previews_what_is_in_the_form(browser: Client, db: None) -> None:
    shown = preview(browser, '{"name": "<Ada>"}', subject="New, {{ name }}")

    assert "New, <Ada>" in shown
    assert 'sandbox="" srcdoc="<b>Hi &lt;Ada&gt;</b>"' in shown
    assert "Hi <Ada></pre>" in shown
    assert not Template.objects.exists()


def test_a_preview_opens_no_page(browser: Client, db: None) -> None:
    shown = preview(browser, '{"name": "x.example"}', html='<iframe src="https://{{ name }}/">')

    assert 'srcdoc="<x-iframe src="https://x.example/">"' in shown


def test_previews_an_earlier_version(browser: Client, template: Template) -> None:
    put_template("welcome", CompiledTemplate(EmailParts(text="Hello")), now=NOW)

    shown = preview(browser, '{"name": "Ada"}', version=str(template.pk), text="not this")

    assert "Hi Ada</pre>" in shown


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ('{"nam": "Ada"}', "subject, line 1: unknown variable 'name'"),
        ('{"name": ', "variables: Expecting value: line 1 column 10"),
        ("[1]", 'variables: not an object, such as {"name": "Ada"}'),
        ("", "subject, line 1: unknown variable 'name'"),
    ],
)
def test_a_preview_says_what_is_wrong(browser: Client, db: None, variables: str, reason: str) -> None:
    assert reason in preview(browser, variables)


def test_a_preview_can_do_nothing(browser: Client, db: None) -> None:
    answer = browser.post(f"{LIST}preview/", {**FORM, "variables": '{"name": "Ada"}'})

    policy = answer["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "img-src data:", "script-src 'self'", "frame-ancestors 'self'"} <= set(policy)
    assert answer["X-Frame-Options"] == "SAMEORIGIN"


def test_a_preview_is_for_who_may_see_templates(teammate: User) -> None:
    client = Client()
    client.force_login(teammate)

    refused = client.post(f"{LIST}preview/", {**FORM, "variables": "{}"})
    teammate.user_permissions.add(Permission.objects.get(codename="view_template"))

    assert refused.status_code == 403
    assert client.post(f"{LIST}preview/", {**FORM, "variables": "{}"}).status_code == 200
    assert client.get(f"{LIST}preview/").status_code == 405
