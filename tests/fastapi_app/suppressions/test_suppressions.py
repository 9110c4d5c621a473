"""The suppression routes, in this process."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from starlette.testclient import TestClient

from project.accounts.models import User
from project.suppressions.models import Suppression
from tests.fastapi_app.conftest import GetToken, bearer


@pytest.fixture
def suppressed(client: TestClient, headers: dict[str, str]) -> list[str]:
    """Three who get no mail."""
    addresses = ["ada@example.com", "bob@example.com", "eve@example.com"]
    for address in addresses:
        client.put(f"/api/suppressions/{address}", json={"reason": "left"}, headers=headers)
    return addresses


def listed(client: TestClient, headers: dict[str, str], **query: Any) -> tuple[list[str], str | None]:
    """The addresses of a page, and what the next comes after."""
    answer = client.get("/api/suppressions", params=query, headers=headers).json()
    return [each["address"] for each in answer["data"]], answer["next"]


@pytest.mark.parametrize("path", ["/api/suppressions/", "/api/templates/", "/api/emails/"])
def test_a_slash_after_the_list_is_overlooked_as_elsewhere(client: TestClient, headers: dict[str, str], path: str) -> None:
    answer = client.get(path, headers=headers, follow_redirects=False)

    assert (answer.status_code, answer.headers["Location"]) == (307, f"http://testserver{path.rstrip('/')}")


def test_suppresses_an_address(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.put("/api/suppressions/ada@example.com", json={"reason": "asked"}, headers=headers)

    assert answer.status_code == 200
    assert answer.json() == {"address": "ada@example.com", "reason": "asked", "created_at": answer.json()["created_at"]}
    assert answer.json()["created_at"].endswith("Z")
    assert Suppression.objects.get().reason == "asked"


@pytest.mark.parametrize("body", [{"json": {}}, {}])
def test_needs_no_reason(client: TestClient, headers: dict[str, str], body: dict[str, Any]) -> None:
    answer = client.put("/api/suppressions/ada@example.com", headers=headers, **body)

    assert (answer.status_code, answer.json()["reason"]) == (200, "")


def test_again_changes_the_reason(client: TestClient, headers: dict[str, str], suppressed: list[str]) -> None:
    answer = client.put(f"/api/suppressions/{suppressed[0].upper()}", json={"reason": "complained"}, headers=headers)

    assert answer.json()["reason"] == "complained"
    assert listed(client, headers) == (suppressed, None)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("ada+news@example.com", "ada+news@example.com"),
        ("ada%2Bnews%40example.com", "ada+news@example.com"),
        ("a%2Fb%25c@example.com", "a/b%c@example.com"),
        ("Ada@B%C3%BCcher.example", "ada@xn--bcher-kva.example"),
    ],
)
def test_an_address_in_a_path_is_itself(client: TestClient, headers: dict[str, str], path: str, address: str) -> None:
    answer = client.put(f"/api/suppressions/{path}", headers=headers)

    assert answer.json()["address"] == address
    assert client.delete(f"/api/suppressions/{path}", headers=headers).status_code == 204


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "nobody",
        "a%20b@example.com",
        "Ada%20%3Cada@example.com%3E",
        "a@b@example.com",
        "%00@example.com",
        "ada@example.com%0A",
        "a%40example.com%0A",
        "a%0A@example.com",
        "%0A",
    ],
)
def test_refuses_what_is_no_address(client: TestClient, headers: dict[str, str], method: str, path: str) -> None:
    Suppression.objects.create(address="ada@example.com")

    answer = client.request(method, f"/api/suppressions/{path}", headers=headers)

    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["path", "address"]]
    assert Suppression.objects.count() == 1


@pytest.mark.parametrize(
    "body", [{"reason": "x" * 501}, {"reason": "a\x00b"}, {"reason": None}, {"why": "x"}, {"reason": "\ud83d"}]
)
def test_refuses_a_bad_reason(client: TestClient, headers: dict[str, str], body: dict[str, Any]) -> None:
    answer = client.put("/api/suppressions/ada@example.com", content=json.dumps(body), headers=headers)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"
    assert not Suppression.objects.exists()


def test_lists_page_by_page(client: TestClient, headers: dict[str, str], suppressed: list[str]) -> None:
    first, cursor = listed(client, headers, limit=2)
    second, end = listed(client, headers, limit=2, after=cursor)

    assert first + second == suppressed
    assert (cursor, end) == ("bob@example.com", None)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"after": "\x00"}])
def test_refuses_a_page_that_cannot_be(client: TestClient, headers: dict[str, str], query: dict[str, Any]) -> None:
    assert client.get("/api/suppressions", params=query, headers=headers).status_code == 422


def test_lifts_a_suppression(client: TestClient, headers: dict[str, str], suppressed: list[str]) -> None:
    answer = client.delete(f"/api/suppressions/{suppressed[1]}", headers=headers)

    assert (answer.status_code, answer.content) == (204, b"")
    assert listed(client, headers) == ([suppressed[0], suppressed[2]], None)


def test_cannot_lift_what_is_not_there(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.delete("/api/suppressions/bob@example.com", headers=headers)

    assert answer.status_code == 404
    assert answer.json() == {"detail": "bob@example.com is not on the suppression list.", "code": "suppression_not_found"}


@pytest.mark.parametrize(
    ("method", "path", "permissions"),
    [
        ("GET", "", ["view"]),
        ("PUT", "/ada@example.com", ["add", "change", "delete"]),
        ("DELETE", "/ada@example.com", ["add", "change", "delete"]),
    ],
)
def test_each_route_asks_for_its_scope(
    client: TestClient, token: GetToken, teammate: User, suppressed: list[str], method: str, path: str, permissions: list[str]
) -> None:
    url = f"/api/suppressions{path}"

    without = client.request(method, url)
    too_little = client.request(method, url, headers=bearer(token(teammate)))
    teammate.user_permissions.set(Permission.objects.filter(codename__in=[f"{each}_suppression" for each in permissions]))
    enough = client.request(method, url, headers=bearer(token(teammate)))

    assert (without.status_code, without.json()["code"]) == (401, "not_authenticated")
    assert (too_little.status_code, too_little.json()["code"]) == (403, "missing_scope")
    assert enough.status_code in {200, 204}
