"""The OpenAPI document is valid. The clients that common tools generate from it, and authlib, can call the running server."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.conftest import PASSWORD
from tests.processes import ROOT, Server

CLIENTS = ROOT / "tests" / "clients"
TOOLS = CLIENTS / "node_modules" / ".bin"
JAVA_FOR_A_SHORT_RUN = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # the optimizing compiler would not pay off
EXAMPLE = re.search(r"```ts\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)


def run(*command: object, cwd: Path, **env: str) -> str:
    """Run a command and return its output. Raises AssertionError with the output if the command fails."""
    result = subprocess.run(
        list(map(str, command)), check=False, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the running server's document, where Node.js finds the tools' packages and Python finds clients."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "openapi.json").write_bytes(server.get("/api/openapi.json").content)
    (folder / "node_modules").symlink_to(CLIENTS / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    for name in ("redocly.yaml", "tsconfig.json", "hey_api.ts"):
        (folder / name).write_text((CLIENTS / name).read_text())
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


# Validators


def test_the_document_is_valid_openapi(server: Server) -> None:
    document = server.get("/api/openapi.json").json()

    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_the_document_passes_redoclys_strict_rules(folder: Path) -> None:
    output = run(TOOLS / "redocly", "lint", "openapi.json", cwd=folder, REDOCLY_TELEMETRY="off", CI="true")

    assert "Your API description is valid" in output


# Python


@pytest.fixture(scope="module")
def openapi_python_client(folder: Path) -> str:
    """Generate a package with openapi-python-client, and return its name."""
    (folder / "config.yaml").write_text("post_hooks: []\n")
    options = ["--path", "openapi.json", "--config", "config.yaml", "--output-path", "mailrail_client", "--meta", "none"]
    run(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", *options, cwd=folder)
    return "mailrail_client"


@pytest.fixture
def package(openapi_python_client: str) -> Any:
    """Return a function that imports a module of the package."""

    def module(name: str) -> ModuleType:
        return importlib.import_module(f"{openapi_python_client}.{name}")

    return module


def test_openapi_python_client_calls_public_operations(server: Server, package: Any) -> None:
    with package("client").Client(base_url=f"{server.url}/api", raise_on_unexpected_status=True) as client:
        greetings = package("api.examples.greet").sync(client=client, name=["Ada", "Bob"], pause=0)
        total = package("api.examples.add").sync(client=client, x=3, y=5)

    assert [greeting.hello for greeting in greetings.greetings] == ["Hello, Ada!", "Hello, Bob!"]
    assert total.result == 8


def test_openapi_python_client_logs_in(server: Server, package: Any) -> None:
    with package("client").Client(base_url=f"{server.url}/api", raise_on_unexpected_status=True) as client:
        form = package("models").BodyCreateToken(username="admin", password=PASSWORD, grant_type="password")
        token = package("api.auth.create_token").sync(client=client, body=form).access_token
    with package("client").AuthenticatedClient(base_url=f"{server.url}/api", token=token) as logged_in:
        me = package("api.auth.get_me").sync(client=logged_in)

    assert (me.kind, me.name) == ("token", "admin")


def test_openapi_python_client_sends_an_email(server: Server, package: Any, api_key: str) -> None:
    email = package("models").EmailIn(from_="shop@example.com", to="ada@example.com", subject="Hi", text="Hello")
    with package("client").AuthenticatedClient(base_url=f"{server.url}/api", token=api_key) as client:
        accepted = package("api.emails.send_email").sync(client=client, body=email)
        stored = package("api.emails.get_email").sync(accepted.id, client=client)
        events = package("api.emails.list_email_events").sync(accepted.id, client=client)

    assert (stored.to, stored.cc, stored.tags.to_dict()) == (["ada@example.com"], [], {})
    assert (events.data[0].type_, events.next_) == ("email.queued", None)


def test_openapi_generator_sends_an_email(server: Server, folder: Path, api_key: str) -> None:
    run(
        Path(sys.executable).with_name("openapi-generator-cli"), "generate", "-i", "openapi.json", "-g", "python",
        "--package-name", "generator_client", "-o", "generator", "--global-property", "apiTests=false,modelTests=false",
        cwd=folder, JAVA_TOOL_OPTIONS=JAVA_FOR_A_SHORT_RUN,
    )  # fmt: skip
    program = f"""
import generator_client as mailrail
with mailrail.ApiClient(mailrail.Configuration(host="{server.url}/api", access_token="{api_key}")) as client:
    emails = mailrail.EmailsApi(client)
    accepted = emails.send_email(mailrail.EmailIn.from_dict(
        {{"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "Hello"}}))
    print(accepted.status.value, emails.get_email(accepted.id).to)
"""
    assert "queued ['ada@example.com']" in run(sys.executable, "-c", program, cwd=folder / "generator")


@pytest.mark.parametrize(
    ("form", "error"),
    [({"password": "wrong"}, "invalid_grant"), ({"password": PASSWORD, "scope": "emails:burn"}, "invalid_scope")],
)
def test_authlib_raises_an_oauth_error(server: Server, form: dict[str, str], error: str) -> None:
    with OAuth2Client() as client, pytest.raises(OAuthError) as raised:
        client.fetch_token(f"{server.url}/api/token", grant_type="password", username="admin", **form)

    assert raised.value.error == error


def test_authlib_gets_a_token(server: Server) -> None:
    with OAuth2Client() as client:
        client.fetch_token(f"{server.url}/api/token", grant_type="password", username="admin", password=PASSWORD)

        assert client.get(f"{server.url}/api/me").json()["name"] == "admin"


# TypeScript


@pytest.fixture(scope="module")
def typescript_programs(folder: Path) -> None:
    """Generate types and an SDK, check the types of the programs that use them, and compile the programs to JavaScript."""
    assert EXAMPLE is not None
    run(TOOLS / "openapi-typescript", "openapi.json", "-o", "mailrail.d.ts", cwd=folder)
    run(TOOLS / "openapi-ts", "-i", "openapi.json", "-o", "hey", "--no-log-file", cwd=folder)
    (folder / "example.ts").write_text(EXAMPLE[1])
    # One run for both programs, because the compiler spends most of its time on the types that both of them use.
    (folder / "program.json").write_text(json.dumps({"extends": "./tsconfig.json", "files": ["example.ts", "hey_api.ts"]}))
    run(TOOLS / "tsc", "-p", "program.json", cwd=folder)


@pytest.mark.usefixtures("typescript_programs")
def test_the_example_of_the_docs_compiles_and_sends_an_email(server: Server, folder: Path, api_key: str) -> None:
    output = run("node", "js/example.js", cwd=folder, MAILRAIL_URL=server.url, MAILRAIL_KEY=api_key)

    assert re.fullmatch(r"[0-9a-f-]{36} queued\n", output)


@pytest.mark.usefixtures("typescript_programs")
def test_hey_api_sends_an_email(server: Server, folder: Path, api_key: str) -> None:
    assert run("node", "js/hey_api.js", cwd=folder, MAILRAIL_URL=server.url, MAILRAIL_KEY=api_key) == "key queued 422 1 string\n"
