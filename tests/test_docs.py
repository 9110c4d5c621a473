"""The documentation says what is so."""

import ast
import re
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import get_commands

from project.config.environment import Environment
from project.emails.models import Email
from tests.processes import ROOT

README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_names_every_setting_and_no_other() -> None:
    named = re.findall(r"^\| `([A-Z0-9_]+)` \|", README, re.MULTILINE)

    assert named == [name.upper() for name in Environment.model_fields]


def test_the_readmes_defaults_are_the_real_ones() -> None:
    told = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| `([^`]*)` \|", README, re.MULTILINE))
    real = {name.upper(): field.get_default() for name, field in Environment.model_fields.items()}

    assert told.pop("DATA_DIR") == "./var"
    assert told.pop("EMAIL_URL") == real["EMAIL_URL"].get_secret_value()
    assert {name: _as_written(real[name]) for name in told} == told


def test_the_readme_names_only_commands_that_are() -> None:
    named = set(re.findall(r"manage\.py (\w+)", README))

    assert named <= set(get_commands())
    assert {"serve", "prepare"} <= named


def test_the_readme_names_every_route_but_the_documents_own() -> None:
    from fastapi_app.main import app

    routes = {f"/api{path}" for path in app.openapi()["paths"]} | {"/api/ws", "/api/ws/events"}
    named = set(re.findall(r"/api/[a-z_{}/.-]*", README))

    assert named - {"/api/docs", "/api/redoc", "/api/openapi.json"} == routes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_tests_named_in_the_readme_exist() -> None:
    named = re.findall(r"\[(test_\w+)\]\((tests/[^)]+)\)", README)

    assert named
    assert [name for name, path in named if f"def {name}(" not in (ROOT / path).read_text()] == []


def test_the_table_of_pitfalls_names_the_tests_that_hold_them() -> None:
    rows = re.findall(r"^\| (\d+[bc]?) \|.*\| (.*?) \| *(.*?) *\|$", ARCHITECTURE, re.MULTILINE)
    told = {number: set(re.findall(r"\(\.\./(tests/[^)]+)\)", tests)) for number, _cure, tests in rows}

    assert {number: files for number, files in told.items() if files} == dict(_marked())
    assert [number for number, cure, tests in rows if not tests and "comes with the issue on" not in cure] == []
    numbers = [str(number) for number in range(1, 32)]
    assert sorted(told) == sorted([*numbers, "7b", "7c", "11b"])


def test_the_map_names_files_that_exist() -> None:
    paths = re.findall(r">((?:project|fastapi_app)/[a-z_./]*)<", (ROOT / "docs" / "images" / "map.svg").read_text())

    assert len(paths) >= 6
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_admin_addresses_in_the_readme_are_real(admin_client, db: None) -> None:  # type: ignore[no-untyped-def]
    Email.objects.all()
    for path in re.findall(r"127\.0\.0\.1:8000(/admin[a-z/]*)", README):
        assert admin_client.get(path).status_code == 200


def _as_written(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, tuple):
        return ",".join(_delay_as_written(each) for each in value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _delay_as_written(delay: timedelta) -> str:
    units = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
    return next(f"{delay // size}{unit}" for unit, size in units.items() if not delay % size)


def _marked() -> dict[str, set[str]]:
    """Which files hold which pitfall, read off the marks."""
    found = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "pitfall":
                for number in node.args:
                    assert isinstance(number, ast.Constant)
                    found[str(number.value)].add(str(path.relative_to(ROOT)))
    return found
