"""Fixtures for browser tests.

Playwright is imported inside the fixtures. If Playwright is missing, the browser tests are skipped, and all other tests run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PASSWORD, run_server
from tests.processes import WAIT_TIMEOUT_SECONDS, Server

if TYPE_CHECKING:
    from tests.browser.chromium import Browser, BrowserContext, Page
    from tests.browser.page_errors import PageErrors


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Run one Chromium for this package only, because Playwright's running event loop disturbs other async tests."""
    from tests.browser.chromium import CHROMIUM, expect, launched

    expect.set_options(timeout=WAIT_TIMEOUT_SECONDS * 1000)
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="package")
def server(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one Mailrail for all tests of this package. The tests find their own data among that of other tests."""
    with run_server("serve", {}, installation, tmp_path_factory.mktemp("serve")) as server:
        yield server


@pytest.fixture
def context(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """Return a fresh browser context, without cookies or stored data."""
    with browser.new_context(base_url=server.url, color_scheme="light") as context:
        context.set_default_timeout(WAIT_TIMEOUT_SECONDS * 1000)
        yield context


@pytest.fixture
def page_errors(context: BrowserContext) -> PageErrors:
    """Collect the errors of all pages in this context."""
    from tests.browser.page_errors import PageErrors

    return PageErrors(context)


@pytest.fixture
def page(context: BrowserContext, page_errors: PageErrors) -> Iterator[Page]:
    """Return an empty page. The test fails if the page has an error that the test did not expect."""
    yield context.new_page()
    assert page_errors.unexpected() == []


@pytest.fixture
def logged_in(page: Page) -> Page:
    """Log in as the administrator. Return the page, which shows the dashboard."""
    from tests.browser.admin_pages import log_in

    log_in(page, PASSWORD)
    return page
