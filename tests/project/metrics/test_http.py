"""Metrics of HTTP requests: the labels of a request, and requests without a response."""

import asyncio
from typing import Any

import pytest
from django.test import Client as Browser
from prometheus_client import REGISTRY
from starlette.testclient import TestClient

from project.accounts.models import User
from project.metrics.http import HttpMetricsMiddleware, Message, Receive, Scope, Send, open_websockets

NAME = "mailrail_http_request_duration_seconds_count"
SCOPE: Scope = {"type": "http", "method": "GET", "path": "/"}


def count(method: str, route: str, status: int) -> float:
    """Return how many requests were counted with these labels."""
    return REGISTRY.get_sample_value(NAME, {"method": method, "route": route, "status": str(status)}) or 0.0


async def ignore(_message: Message) -> None:
    """Receive a message of the application."""


async def receive() -> Message:
    """Return an empty request."""
    return {"type": "http.request"}


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/api/emails/01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e", "/api/emails/{email_id}", 401),
        ("POST", "/api/emails", "/api/emails", 401),
        ("GET", "/api/health/live", "/api/health/live", 200),
        ("DELETE", "/api/health/live", "/api/health/live", 405),
        ("GET", "/api/docs", "/api/docs", 200),
        ("GET", "/api/missing/ada@example.com", "none", 404),
        ("GET", "/admin/login/", "/admin/login/", 200),
        ("GET", "/missing/ada@example.com", "none", 404),
        ("GET", "/static/missing.css", "/static/", 404),
    ],
)
def test_counts_a_request_by_its_route(client: TestClient, method: str, path: str, route: str, status: int) -> None:
    before = count(method, route, status)

    response = client.request(method, path)

    assert response.status_code == status
    assert count(method, route, status) == before + 1


def test_counts_a_page_of_the_admin_by_its_route(client: TestClient, owner: User) -> None:
    browser = Browser()
    browser.force_login(owner)
    client.cookies.set("sessionid", browser.cookies["sessionid"].value)
    labels = ("GET", "/admin/emails/email/<path:object_id>/change/", 302)  # to the index: there is no such email
    before = count(*labels)

    client.get("/admin/emails/email/01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e/change/", follow_redirects=False)

    assert count(*labels) == before + 1


@pytest.mark.parametrize(("error", "status"), [(ValueError(), 500), (asyncio.CancelledError(), 499), (None, 499)])
def test_counts_a_request_without_a_response(error: BaseException | None, status: int) -> None:
    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        if error is not None:
            raise error

    before = count("GET", "none", status)

    async def run() -> None:
        try:
            await HttpMetricsMiddleware(fail, static_prefix="/static/")(dict(SCOPE), receive, ignore)
        except (ValueError, asyncio.CancelledError):
            return

    asyncio.run(run())

    assert count("GET", "none", status) == before + 1


def test_an_unknown_method_adds_no_time_series(client: TestClient) -> None:
    before = count("other", "none", 404)

    client.request("PROPFIND", "/missing")

    assert count("other", "none", 404) == before + 1


def test_counts_open_websockets(client: TestClient) -> None:
    def value() -> Any:
        return open_websockets._value.get()

    before = value()
    with client.websocket_connect("/api/ws"):
        assert value() == before + 1

    assert value() == before
