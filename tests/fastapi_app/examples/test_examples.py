"""The examples in the FastAPI notes, in this process. tests/servers/api/test_examples.py tests them against real servers."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.testclient import TestClient

from fastapi_app.examples.routes import get_dependency
from fastapi_app.main import app
from project.bridge.background.background_tasks import BackgroundRoute
from tests.processes import ROOT


def parameters_in(answer: Any) -> list[str]:
    """Check that the response is a 422, and return the parameters that it names."""
    assert answer.status_code == 422
    return [problem["loc"][1] for problem in answer.json()["detail"]]


# Asyncio


def test_asyncio_greets_each_by_name(client: TestClient) -> None:
    greetings = client.get("/api/greet?name=Alice&name=Bob&pause=0").json()["greetings"]

    assert [(g["name"], g["hello"], g["goodbye"]) for g in greetings] == [
        ("Alice", "Hello, Alice!", "Goodbye, Alice!"),
        ("Bob", "Hello, Bob!", "Goodbye, Bob!"),
    ]


def test_asyncio_greets_many_names_concurrently(client: TestClient) -> None:
    greetings = client.get("/api/greet?name=Alice&name=Bob&name=Cleo&pause=0.05").json()["greetings"]

    last_hello = max(datetime.fromisoformat(g["hello_at"]) for g in greetings)
    first_goodbye = min(datetime.fromisoformat(g["goodbye_at"]) for g in greetings)
    assert last_hello < first_goodbye


def test_asyncio_pauses_between_hello_and_goodbye(client: TestClient) -> None:
    answer = client.get("/api/greet?name=Alice&pause=0.05").json()

    (alice,) = answer["greetings"]
    paused = datetime.fromisoformat(alice["goodbye_at"]) - datetime.fromisoformat(alice["hello_at"])
    assert answer["elapsed"] >= 0.05
    assert paused.total_seconds() >= 0.049  # less than 0.05, because the event loop and the timestamps use different clocks


def test_asyncio_returns_times_in_utc(client: TestClient) -> None:
    (alice,) = client.get("/api/greet?name=Alice&pause=0").json()["greetings"]

    assert alice["hello_at"].endswith("Z")
    assert alice["goodbye_at"].endswith("Z")


def test_asyncio_pauses_for_a_second_by_default() -> None:
    name, pause = app.openapi()["paths"]["/greet"]["get"]["parameters"]

    assert name["name"] == "name"
    assert pause["schema"]["default"] == 1.0


@pytest.mark.parametrize("query", ["&".join(["name=x"] * 50), "name=" + "x" * 100])
def test_asyncio_accepts_values_up_to_the_limits(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/greet?pause=0&{query}")

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", "name"),
        ("&".join(["name=x"] * 51), "name"),
        ("name=", "name"),
        ("name=" + "x" * 101, "name"),
        ("name=x&pause=-0.1", "pause"),
        ("name=x&pause=5.1", "pause"),
        ("name=x&pause=nan", "pause"),
        ("name=x&pause=soon", "pause"),
    ],
)
def test_asyncio_names_a_parameter_that_is_out_of_range(client: TestClient, query: str, parameter: str) -> None:
    answer = client.get(f"/api/greet?{query}")

    assert parameters_in(answer) == [parameter]


# Types


@pytest.mark.parametrize(("x", "y", "result"), [("3", "5", 8), ("-3", "3", 0), ("9" * 40, "1", 10**40)])
def test_types_adds(client: TestClient, x: str, y: str, result: int) -> None:
    answer = client.get("/api/add", params={"x": x, "y": y})

    assert answer.json() == {"result": result}


@pytest.mark.parametrize(
    ("query", "parameters"),
    [("x=abc&y=5", ["x"]), ("x=3&y=5.5", ["y"]), ("x=3", ["y"]), ("y=5", ["x"]), ("", ["x", "y"]), ("x=&y=5", ["x"])],
)
def test_types_names_a_parameter_that_is_not_an_integer(client: TestClient, query: str, parameters: list[str]) -> None:
    answer = client.get(f"/api/add?{query}")

    assert parameters_in(answer) == parameters


@pytest.mark.parametrize(
    ("call", "verdict"),
    [
        ("add_numbers(3, 5)", "Success: no issues found"),
        ('add_numbers(3, "5")', 'Argument 2 to "add_numbers" has incompatible type "str"; expected "int"'),
    ],
)
def test_types_are_checked_by_a_type_checker(tmp_path: Path, call: str, verdict: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"from fastapi_app.examples.arithmetic import add_numbers\nresult: int = {call}\n")

    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", str(program)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert verdict in checked.stdout
    assert (checked.returncode == 0) is verdict.startswith("Success")


# Depends


@pytest.fixture
def _overridden() -> Iterator[None]:
    app.dependency_overrides[get_dependency] = lambda: "test"
    yield
    del app.dependency_overrides[get_dependency]


def test_depends_greets_with_the_value_of_the_dependency(client: TestClient) -> None:
    answer = client.get("/api/")

    assert answer.json() == {"message": "Hello, Dependency Injection"}


@pytest.mark.usefixtures("_overridden")
def test_depends_can_be_overridden_by_a_test(client: TestClient) -> None:
    answer = client.get("/api/")

    assert answer.json() == {"message": "Hello, test"}


def small_app(router: APIRouter) -> TestClient:
    """Return a client for an application with one router."""
    small = FastAPI()
    small.include_router(router)
    return TestClient(small, raise_server_exceptions=False)


def test_depends_resolves_nested_dependencies() -> None:
    router = APIRouter(route_class=BackgroundRoute)

    def first(name: str) -> str:
        return f"first {name}"

    def second(inner: Annotated[str, Depends(first)]) -> str:
        return f"second after {inner}"

    @router.get("/")
    async def read(outer: Annotated[str, Depends(second)], same: Annotated[str, Depends(first)]) -> list[str]:
        return [outer, same]

    answer = small_app(router).get("/?name=Ada")

    assert answer.json() == ["second after first Ada", "first Ada"]


@pytest.mark.parametrize("path", ["/works", "/fails"])
def test_depends_closes_a_dependency_that_yields(path: str) -> None:
    router, events = APIRouter(route_class=BackgroundRoute), []

    async def resource() -> Any:
        events.append("opened")
        try:
            yield "resource"
        finally:
            events.append("closed")

    @router.get("/works")
    async def works(found: Annotated[str, Depends(resource)]) -> None:
        events.append(f"used {found}")

    @router.get("/fails")
    async def fails(found: Annotated[str, Depends(resource)]) -> None:
        events.append(f"used {found}")
        raise OSError

    small_app(router).get(path)

    assert events == ["opened", "used resource", "closed"]
