"""The router: what is served by whom."""

import pytest
from starlette.testclient import TestClient

DJANGO = "Not Found"  # the title of Django's page; FastAPI's answer is JSON


def test_the_root_is_djangos_landing_page(client: TestClient) -> None:
    answer = client.get("/")

    assert answer.status_code == 200
    assert "/api/docs" in answer.text
    assert "/admin/" in answer.text


@pytest.mark.parametrize("path", ["/api/", "/api/health/live"])
@pytest.mark.pitfall(16)
def test_api_and_below_is_fastapis(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.pitfall(16)
def test_api_without_its_slash_leads_to_it(client: TestClient) -> None:
    answer = client.get("/api", follow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (307, "http://testserver/api/")


@pytest.mark.parametrize("path", ["/apix", "/apix/add", "/ap", "/API/", "//api/", "/api-docs", "/docs"])
@pytest.mark.pitfall(16)
def test_what_only_looks_like_api_is_djangos(client: TestClient, path: str) -> None:
    answer = client.get(f"http://testserver{path}")

    assert answer.status_code == 404
    assert f"<title>{DJANGO}</title>" in answer.text


def test_the_admin_is_djangos(client: TestClient) -> None:
    answer = client.get("/admin/login/")

    assert answer.status_code == 200
    assert "Mailrail" in answer.text


def test_a_route_of_fastapi_is_not_reachable_twice(client: TestClient) -> None:
    assert client.get("/api/api/add?x=1&y=1").status_code == 404
    assert client.get("/add?x=1&y=1").status_code == 404


def test_a_browser_that_asks_for_an_icon_is_led_to_ours(client: TestClient) -> None:
    answer = client.get("/favicon.ico", follow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/static/mailrail/logo.svg")
