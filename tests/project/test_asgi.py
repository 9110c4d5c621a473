"""The router: some paths are served by Django, and the others by FastAPI."""

import pytest
from starlette.testclient import TestClient


def test_django_serves_the_landing_page(client: TestClient) -> None:
    response = client.get("/")

    assert response.status_code == 200
    assert "/api/docs" in response.text
    assert "/admin/" in response.text


@pytest.mark.parametrize("path", ["/api/", "/api/health/live"])
@pytest.mark.pitfall(16)
def test_fastapi_serves_api_and_below(client: TestClient, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.pitfall(16)
def test_api_without_a_slash_redirects_to_api_with_a_slash(client: TestClient) -> None:
    response = client.get("/api", follow_redirects=False)

    assert (response.status_code, response.headers["Location"]) == (307, "/api/")


@pytest.mark.parametrize("path", ["/apix", "/apix/add", "/ap", "/API/", "//api/", "/api-docs", "/docs"])
@pytest.mark.pitfall(16)
def test_django_serves_paths_that_only_look_like_api(client: TestClient, path: str) -> None:
    response = client.get(f"http://testserver{path}")

    assert response.status_code == 404
    assert "<h1>Page not found</h1>" in response.text


def test_django_serves_the_admin(client: TestClient) -> None:
    response = client.get("/admin/login/")

    assert response.status_code == 200
    assert "Mailrail" in response.text


def test_a_fastapi_route_is_reachable_at_one_path_only(client: TestClient) -> None:
    assert client.get("/api/api/add?x=1&y=1").status_code == 404
    assert client.get("/add?x=1&y=1").status_code == 404


def test_the_favicon_redirects_to_the_logo(client: TestClient) -> None:
    response = client.get("/favicon.ico", follow_redirects=False)

    assert (response.status_code, response.headers["Location"]) == (302, "/static/mailrail/logo.svg")
