"""Chromium, driven by Playwright. Tests import Playwright from this module, so that they are skipped without Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    Response,
    Route,
    expect,
    sync_playwright,
)

__all__ = [
    "CHROMIUM",
    "Browser",
    "BrowserContext",
    "ConsoleMessage",
    "Error",
    "Locator",
    "Page",
    "Request",
    "Response",
    "Route",
    "expect",
    "launched",
]

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a headless Chromium until the end of the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
