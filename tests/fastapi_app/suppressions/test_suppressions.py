"""The suppression routes."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from starlette.testclient import TestClient

from project.accounts.models import User
from project.suppressions.models import Suppression
from tests.fastapi_app.conftest import GetToken, bearer

JSON = {"Content-Type": "application/json"}  # for bodies that the test client cannot encode as JSON


@pytest.fixture
def suppressed(client: TestClient, headers: dict[str, str]) -> list[str]:
    """Suppress three email addresses, and return the addresses."""
    addresses = ["ada@example.com", "bob@example.com", "eve@example.com"]
    for address in addresses:
        client.put(f"/api/suppressions/{address}", json={"reason": "left"}, headers=headers)
    return addresses


def list_page(client: TestClient, headers: dict[str, str], **query: Any) -> tuple[list[str], str | None]:
    """Return the email addresses on one page of the list, and the cursor of the next page."""
    page = client.get("/api/suppressions", params=query, headers=headers).json()
    return [suppression["address"] for suppression in page["data"]], page["next"]


@pytest.mark.parametrize("path", ["/api/suppressions/", "/api/templates/", "/api/emails/"])
def test_redirects_a_trailing_slash_as_other_lists_do(client: TestClient, headers: dict[str, str], path: str) -> None:
    response = client.get(path, headers=headers, follow_redirects=False)

    assert (response.status_code, response.headers["Location"]) == (307, path.rstrip("/"))


def test_suppresses_an_address(client: TestClient, headers: dict[str, str]) -> None:
    response = client.put("/api/suppressions/ada@example.com", json={"reason": "asked"}, headers=headers)

    assert response.status_code == 200
    assert response.json() == {"address": "ada@example.com", "reason": "asked", "created_at": response.json()["created_at"]}
    assert response.json()["created_at"].endswith("Z")
    assert Suppression.objects.get().reason == "asked"


@pytest.mark.parametrize("body", ["", "{}", "null", '{"reason": null}'])
def test_the_reason_is_optional(client: TestClient, headers: dict[str, str], body: str) -> None:
    response = client.put("/api/suppressions/ada@example.com", headers=headers | JSON, content=body)

    assert (response.status_code, response.json()["reason"]) == (200, "")


@pytest.mark.parametrize("reason", ["a\u202eb", "a\nb", "a\x07b"])
def test_rejects_a_reason_that_could_look_like_another(client: TestClient, headers: dict[str, str], reason: str) -> None:
    response = client.put("/api/suppressions/ada@example.com", json={"reason": reason}, headers=headers)

    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "reason"])


def test_suppressing_again_changes_the_reason(client: TestClient, headers: dict[str, str], suppressed: list[str]) -> None:
    response = client.put(f"/api/suppressions/{suppressed[0].upper()}", json={"reason": "complained"}, headers=headers)

    assert response.json()["reason"] == "complained"
    assert list_page(client, headers) == (suppressed, None)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("ada+news@example.com", "ada+news@example.com"),
        ("ada%2Bnews%40example.com", "ada+news@example.com"),
        ("a%2Fb%25c@example.com", "a/b%c@example.com"),
        ("Ada@B%C3%BCcher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_decodes_the_address_in_the_path(client: TestClient, headers: dict[str, str], path: str, address: str) -> None:
    response = client.put(f"/api/suppressions/{path}", headers=headers)

    assert response.json()["address"] == address
    assert client.delete(f"/api/suppressions/{path}", headers=headers).status_code == 204


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "not-an-address",
        "a%20b@example.com",
        "Ada%20%3Cada@example.com%3E",
        "a@b@example.com",
        "%00@example.com",
        "ada@example.com%0A",
        "a%40example.com%0A",
        "a%0A@example.com",
        "%0A",
        "ada@example.com,bob@example.com",
        "ada@example.com;bob@example.com",
    ],
)
def test_rejects_an_invalid_address(client: TestClient, headers: dict[str, str], method: str, path: str) -> None:
    Suppression.objects.create(address="ada@example.com")

    response = client.request(method, f"/api/suppressions/{path}", headers=headers)

    assert response.status_code == 422
    assert [problem["loc"] for problem in response.json()["detail"]] == [["path", "address"]]
    assert Suppression.objects.count() == 1


@pytest.mark.parametrize(
    "body", [{"reason": "x" * 501}, {"reason": "a\x00b"}, {"reason": 1}, {"note": "x"}, {"note": None}, {"reason": "\ud83d"}]
)
def test_rejects_an_invalid_reason(client: TestClient, headers: dict[str, str], body: dict[str, Any]) -> None:
    response = client.put("/api/suppressions/ada@example.com", content=json.dumps(body), headers=headers | JSON)

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", *body]
    assert not Suppression.objects.exists()


def test_lists_page_by_page(client: TestClient, headers: dict[str, str], suppressed: list[str]) -> None:
    first, cursor = list_page(client, headers, limit=2)
    second, end = list_page(client, headers, limit=2, after=cursor)

    assert first + second == suppressed
    assert (cursor, end) == ("bob@example.com", None)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"after": "\x00"}])
def test_rejects_an_invalid_page(client: TestClient, headers: dict[str, str], query: dict[str, Any]) -> None:
    assert client.get("/api/suppressions", params=query, headers=headers).status_code == 422


def test_removes_a_suppression(client: TestClient, headers: dict[str, str], suppressed: list[str]) -> None:
    response = client.delete(f"/api/suppressions/{suppressed[1]}", headers=headers)

    assert (response.status_code, response.content) == (204, b"")
    assert list_page(client, headers) == ([suppressed[0], suppressed[2]], None)


def test_cannot_remove_an_address_that_is_not_listed(client: TestClient, headers: dict[str, str]) -> None:
    response = client.delete("/api/suppressions/bob@example.com", headers=headers)

    assert response.status_code == 404
    assert response.json() == {"detail": "bob@example.com is not on the suppression list.", "code": "suppression_not_found"}


@pytest.mark.parametrize(
    ("method", "path", "permissions"),
    [
        ("GET", "", ["view"]),
        ("PUT", "/ada@example.com", ["add", "change", "delete"]),
        ("DELETE", "/ada@example.com", ["add", "change", "delete"]),
    ],
)
def test_each_route_needs_its_scope(
    client: TestClient, token: GetToken, teammate: User, suppressed: list[str], method: str, path: str, permissions: list[str]
) -> None:
    url = f"/api/suppressions{path}"

    anonymous = client.request(method, url)
    without_permission = client.request(method, url, headers=bearer(token(teammate)))
    teammate.user_permissions.set(
        Permission.objects.filter(codename__in=[f"{permission}_suppression" for permission in permissions])
    )
    permitted = client.request(method, url, headers=bearer(token(teammate)))

    assert (anonymous.status_code, anonymous.json()["code"]) == (401, "not_authenticated")
    assert (without_permission.status_code, without_permission.json()["code"]) == (403, "insufficient_scope")
    assert permitted.status_code in {200, 204}
