"""A browser, and a page that is watched.

Playwright is imported late: where it is missing, the test modules are skipped, and the rest of the tests must still run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PASSWORD
from tests.processes import PATIENCE, Server

if TYPE_CHECKING:
    from tests.browser.chromium import Browser, BrowserContext, Page
    from tests.browser.page_errors import PageErrors


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for this folder only: while Playwright runs, its event loop is in the way of other asynchronous tests."""
    from tests.browser.chromium import CHROMIUM, expect, launched

    expect.set_options(timeout=PATIENCE * 1000)
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with launched() as chromium:
        yield chromium


@pytest.fixture
def context(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """A browser that has never been here: no cookies, nothing stored."""
    with browser.new_context(base_url=server.url, color_scheme="light") as fresh:
        fresh.set_default_timeout(PATIENCE * 1000)
        yield fresh


@pytest.fixture
def watch(context: BrowserContext) -> PageErrors:
    """What went wrong in this browser."""
    from tests.browser.page_errors import PageErrors

    return PageErrors(context)


@pytest.fixture
def page(context: BrowserContext, watch: PageErrors) -> Iterator[Page]:
    """An empty page. Nothing may go wrong in it that the test has not said."""
    yield context.new_page()
    assert watch.complaints() == []


@pytest.fixture
def signed_in(page: Page) -> Page:
    """The same page at the dashboard, for the administrator."""
    from tests.browser.admin_pages import sign_in

    sign_in(page, PASSWORD)
    return page
