"""Tests that the error check of the browser tests detects errors."""

import pytest

from tests.browser.chromium import BrowserContext
from tests.browser.page_errors import PageErrors

FOREIGN_URL = "http://elsewhere.invalid/logo.svg"


@pytest.mark.parametrize("html", [f"<img src='{FOREIGN_URL}'>", f"<script>fetch('{FOREIGN_URL}').catch(() => 0)</script>"])
def test_reports_a_request_to_another_host(context: BrowserContext, page_errors: PageErrors, html: str) -> None:
    page = context.new_page()

    with page.expect_event("requestfailed"):
        page.set_content(html)

    assert f"request to {FOREIGN_URL}" in page_errors.unexpected()


def test_reports_a_missing_file(context: BrowserContext, page_errors: PageErrors) -> None:
    page = context.new_page()

    page.goto("/no-such-page/")

    assert any(error.startswith("404 from ") for error in page_errors.unexpected())
    assert any(error.startswith("console: ") for error in page_errors.unexpected())


def test_reports_an_exception_in_a_script(context: BrowserContext, page_errors: PageErrors) -> None:
    page = context.new_page()

    with page.expect_event("pageerror"):
        page.set_content("<script>throw new Error('deliberate')</script>")

    assert page_errors.unexpected() == ["page: deliberate"]


def test_reports_an_expected_failure_that_does_not_happen(context: BrowserContext, page_errors: PageErrors) -> None:
    page_errors.expect(401, "/api/me")

    context.new_page().goto("/")

    assert page_errors.unexpected() == ["no 401 from /api/me"]
