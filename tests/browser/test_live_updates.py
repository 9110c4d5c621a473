"""The check that every test here relies on can fail."""

import pytest

from tests.browser.chromium import BrowserContext
from tests.browser.page_errors import PageErrors

ELSEWHERE = "http://elsewhere.invalid/logo.svg"


@pytest.mark.parametrize("html", [f"<img src='{ELSEWHERE}'>", f"<script>fetch('{ELSEWHERE}').catch(() => 0)</script>"])
def test_a_request_to_another_host_is_noticed(context: BrowserContext, watch: PageErrors, html: str) -> None:
    page = context.new_page()

    with page.expect_event("requestfailed"):
        page.set_content(html)

    assert f"request to {ELSEWHERE}" in watch.complaints()


def test_a_missing_file_is_noticed(context: BrowserContext, watch: PageErrors) -> None:
    page = context.new_page()

    page.goto("/no-such-page/")

    assert any(complaint.startswith("404 from ") for complaint in watch.complaints())
    assert any(complaint.startswith("console: ") for complaint in watch.complaints())


def test_an_error_of_a_script_is_noticed(context: BrowserContext, watch: PageErrors) -> None:
    page = context.new_page()

    with page.expect_event("pageerror"):
        page.set_content("<script>throw new Error('told to fail')</script>")

    assert watch.complaints() == ["page: told to fail"]


def test_an_expected_failure_that_does_not_come_is_noticed(context: BrowserContext, watch: PageErrors) -> None:
    watch.expect(401, "/api/me")

    context.new_page().goto("/")

    assert watch.complaints() == ["no 401 from /api/me"]
