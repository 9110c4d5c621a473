"""A client that is generated from the OpenAPI document, as the FastAPI notes suggest, and that calls the running server."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import PASSWORD
from tests.processes import Server

PACKAGE = "generated_client"


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Generate a client package from the running server's document."""
    folder = tmp_path_factory.mktemp("generated")
    document, config = folder / "openapi.json", folder / "config.yaml"
    document.write_bytes(server.get("/api/openapi.json").content)
    config.write_text("post_hooks: []\n")
    options = ["--path", document, "--config", config, "--output-path", folder / PACKAGE, "--meta", "none"]
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"]
    subprocess.run([*command, *map(str, options)], check=True)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture
def client(server: Server, generated: None) -> Iterator[Any]:
    """Return an unauthenticated client."""
    with module("client").Client(base_url=f"{server.url}/api", raise_on_unexpected_status=True) as client:
        yield client


def test_a_client_generated_from_the_document_works(client: Any) -> None:
    greetings = module("api.examples.greet").sync(client=client, name=["Ada", "Bob"], pause=0)
    total = module("api.examples.add").sync(client=client, x=3, y=5)
    sent = module("api.examples.send_email_in_background").sync(client=client, email="ada@example.com", message="Hi")

    assert [greeting.hello for greeting in greetings.greetings] == ["Hello, Ada!", "Hello, Bob!"]
    assert (total.result, sent.message) == (8, "Email will be sent in the background")


def test_the_generated_client_signs_in(server: Server, client: Any) -> None:
    form = module("models").BodyCreateToken(username="admin", password=PASSWORD, grant_type="password")

    token = module("api.auth.create_token").sync(client=client, body=form).access_token
    with module("client").AuthenticatedClient(base_url=f"{server.url}/api", token=token) as logged_in:
        me = module("api.auth.get_me").sync(client=logged_in)

    assert (me.kind, me.name) == ("token", "admin")


def module(name: str) -> Any:
    """Import a module of the generated package."""
    return importlib.import_module(f"{PACKAGE}.{name}")
