"""The Location of redirects of the API."""

import pytest
from pytest_django import Settings
from starlette.testclient import TestClient


@pytest.mark.parametrize(
    ("public_url", "location"),
    [(None, "/api/emails?limit=1"), ("https://mail.example.com", "https://mail.example.com/api/emails?limit=1")],
)
def test_a_redirect_leads_to_the_public_url(
    client: TestClient, settings: Settings, public_url: str | None, location: str
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"public_url": public_url})

    response = client.get("/api/emails/?limit=1", headers={"Host": "internal"}, follow_redirects=False)

    assert (response.status_code, response.headers["Location"]) == (307, location)
