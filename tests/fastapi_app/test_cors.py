"""CORS: off by default; with `CORS_ORIGINS`, for tokens and never for cookies."""

import pytest
from pytest_django import Settings
from starlette.testclient import TestClient

from fastapi_app.main import create_app

ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
}


@pytest.fixture
def cors_client(settings: Settings) -> TestClient:
    """Return a client of an application that allows one foreign origin."""
    settings.CORS_ORIGINS = [ORIGIN]
    return TestClient(create_app())


def test_no_origin_is_allowed_by_default(client: TestClient) -> None:
    response = client.get("/api/add?x=1&y=2", headers={"Origin": ORIGIN})

    assert not [name for name in response.headers if name.startswith("access-control")]
    assert client.options("/api/emails", headers=PREFLIGHT).status_code == 405


@pytest.mark.django_db
def test_a_listed_origin_may_send_a_token_but_no_cookie(cors_client: TestClient) -> None:
    preflight = cors_client.options("/emails", headers=PREFLIGHT)
    response = cors_client.get("/add?x=1&y=2", headers={"Origin": ORIGIN})

    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Idempotent-Replayed" in response.headers["Access-Control-Expose-Headers"]
    assert "access-control-allow-credentials" not in preflight.headers.keys() | response.headers.keys()


@pytest.mark.django_db
@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example.com", "https://app.example.com.evil.example"])
def test_another_origin_is_refused(cors_client: TestClient, origin: str) -> None:
    preflight = cors_client.options("/emails", headers=PREFLIGHT | {"Origin": origin})

    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
