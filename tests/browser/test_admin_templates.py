"""A template's form in the admin, with its preview."""

import pytest

from tests.browser.admin_pages import log_in
from tests.browser.chromium import Page, expect
from tests.conftest import PASSWORD


@pytest.fixture
def form(page: Page) -> Page:
    """Return the form of a new template, filled in."""
    log_in(page, PASSWORD, "/admin/mail_templates/template/add/")
    page.locator("#id_slug").fill("greeting")
    page.locator("#id_subject").fill("Welcome, {{ name }}")
    page.locator("#id_html").fill("<style>h1 { color: rgb(0, 128, 128) }</style>\n<h1>Hi {{ name }}</h1>")
    return page


def test_previews_an_unsaved_template(form: Page) -> None:
    form.locator("#id_variables").fill('{"name": "Ada <3"}')

    form.get_by_role("button", name="Preview").click()

    preview = form.frame_locator("iframe[name=preview]")
    expect(preview.locator(".preview-subject")).to_have_text("Welcome, Ada <3")
    heading = preview.frame_locator("iframe").get_by_role("heading", name="Hi Ada <3")
    expect(heading).to_have_css("color", "rgb(0, 128, 128)")
    expect(form.locator("#id_slug")).to_have_value("greeting")  # the preview has not replaced the form


def test_the_preview_shows_where_an_error_is(form: Page) -> None:
    form.get_by_role("button", name="Preview").click()

    expect(form.frame_locator("iframe[name=preview]").locator(".errornote")).to_have_text(
        "subject, line 1: unknown variable 'name'"
    )


def test_saving_creates_the_next_version(form: Page) -> None:
    form.get_by_role("button", name="Save and continue editing").click()
    form.locator("#id_subject").fill("Hello, {{ name }}")
    form.get_by_role("button", name="Save and continue editing").click()

    expect(form.get_by_role("heading", name="greeting, version 2")).to_be_visible()
    expect(form.get_by_role("row", name="2, shown here (current) Hello")).to_be_visible()
    expect(form.get_by_role("link", name="1", exact=True)).to_be_visible()
