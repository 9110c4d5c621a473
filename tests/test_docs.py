"""Checks the documentation against the code: settings, defaults, commands, routes, error codes, links and paths."""

import re
import socket
from datetime import timedelta
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.test import Client

from fastapi_app.exception_handlers import STATUS_BY_ERROR
from fastapi_app.main import app
from project.auth.scopes import SCOPES
from project.bridge.database.read_transactions import LOOKUP_POOL_SIZE, READ_POOL_SIZE
from project.bridge.database.transactions import POOL_SIZE, UNTRANSACTED_POOL_SIZE
from project.config.environment import Environment
from project.emails.status import Status
from tests.markdown import CHANGELOG, PAGES, code_in, rows
from tests.processes import ROOT

API, CONFIGURATION, PRODUCTION, README = (
    (ROOT / name).read_text() for name in ("docs/api.md", "docs/configuration.md", "docs/production.md", "README.md")
)
WEBSOCKETS = {"WS /api/ws", "WS /api/ws/events"}
UI_PATHS = {"/api/docs", "/api/redoc", "/api/openapi.json"}  # not in the OpenAPI document
SOURCE_CODE = "\n".join(
    path.read_text() for folder in ("project", "fastapi_app", "tests", "bench") for path in (ROOT / folder).rglob("*.py")
)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def routes() -> set[str]:
    """Return the routes of the API as `METHOD /api/path`."""
    paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
    return {
        f"{method.upper()} /api{path}" for path, methods in paths.items() for method in methods if method != "head"
    } | WEBSOCKETS


# Settings


def test_production_has_the_number_of_database_connections() -> None:
    reads = READ_POOL_SIZE + LOOKUP_POOL_SIZE
    total = POOL_SIZE + reads + UNTRANSACTED_POOL_SIZE

    counts = f"up to {total} connections open: {POOL_SIZE} for writes, {reads} for reads, and {UNTRANSACTED_POOL_SIZE} for work"
    assert counts in PRODUCTION
    assert f"keeps up to {2 * total}, and `deliver` up to {total}." in PRODUCTION


def test_configuration_lists_every_setting_and_no_other() -> None:
    listed = re.findall(r"^\| `([A-Z0-9_]+)` \|", CONFIGURATION.partition("\n## ")[0], re.MULTILINE)

    assert listed == [name.upper() for name in Environment.model_fields]


def test_configuration_lists_the_actual_defaults() -> None:
    written = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| `([^`]*)` \|", CONFIGURATION.partition("\n## ")[0], re.MULTILINE))
    real = {name.upper(): field.get_default() for name, field in Environment.model_fields.items()}

    assert len(written) > len(real) / 2
    assert written.pop("DATA_DIR") == "./var"
    assert written.pop("EMAIL_URL") == real["EMAIL_URL"].get_secret_value()
    assert {name: _as_written(real[name]) for name in written} == written


def test_configuration_lists_the_values_of_delivery_worker() -> None:
    listed = [row[0].strip("`") for row in rows(CONFIGURATION, "The delivery worker")[1:]]

    assert sorted(listed) == sorted(_literal_values(Environment.model_fields["delivery_worker"].annotation))


@every_page
def test_settings_and_constants_exist(page: Path) -> None:
    names = {
        name
        for code in code_in(page.read_text())
        for name in re.findall(r"^(?:[A-Z][A-Z0-9]*_[A-Z0-9_]+(?=$|=)|[A-Z]{2,}(?==))", code, re.MULTILINE)
    }
    compose = (ROOT / "deploy" / "docker" / "compose.yaml").read_text()
    in_compose = set(re.findall(r"\$\{([A-Z_]+)", compose))
    known = {name.upper() for name in Environment.model_fields} | set(dir(settings)) | set(dir(socket)) | in_compose

    assert [name for name in sorted(names - known) if not re.search(rf"\b{name}\b", SOURCE_CODE)] == []


def test_renamed_settings_and_schemas_of_the_changelog_are_gone_and_their_new_names_exist() -> None:
    renamed = [[cell.strip("`") for cell in row] for row in rows(CHANGELOG.read_text(), "Renamed before the first release")]
    schemas, names = set(app.openapi()["components"]["schemas"]), {name.upper() for name in Environment.model_fields}

    for kind, known in (("setting", names), ("schema", schemas), ("command", set(get_commands()))):
        old, new = zip(*(row[1:] for row in renamed if row[0] == kind), strict=True)
        assert (kind, set(old) & known, set(new) - known) == (kind, set(), set())


# Commands


def test_configuration_lists_all_our_commands() -> None:
    listed = {match[1] for row in rows(CONFIGURATION, "Commands") if (match := re.match(r"`python manage\.py (\w+)", row[0]))}
    ours = {name for name, package in get_commands().items() if str(package).startswith("project")}

    assert ours <= listed


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    for command, arguments in re.findall(r"manage\.py ([a-z_]+)([^`\n|#)]*)", page.read_text()):
        assert command in get_commands(), command
        options = set(re.findall(r"(?<!\S)--[a-z-]+", arguments))
        if command != "serve":  # `serve` accepts all of Daphne's options
            package = get_commands()[command]
            assert isinstance(package, str)
            parser = load_command_class(package, command).create_parser("manage.py", command)
            assert options <= set(parser._option_string_actions), (command, options)


@every_page
def test_modules_run_with_python_exist(page: Path) -> None:
    for module, path in re.findall(r"python (?:-m ((?:bench|docs|tests)[\w.]*)|(bench/\w+\.py))", page.read_text()):
        assert find_spec(module) if module else (ROOT / path).exists()


# The API


def test_api_lists_every_route_and_no_other() -> None:
    listed = re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE|WS) /api[^`]*)`", API, re.MULTILINE)

    assert sorted(listed) == sorted(routes())


def test_api_names_the_scope_of_each_route() -> None:
    written = dict(re.findall(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /api[^`]*)` \| `(\w+:\w+)` \|", API, re.MULTILINE))
    paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
    declared = {
        f"{method.upper()} /api{path}": scopes
        for path, methods in paths.items()
        for method, operation in methods.items()
        for scopes in (operation["security"] or [{}])[0].values()
    }

    assert written == {route: scopes[0] for route, scopes in declared.items() if scopes and "send-email" not in route}


@every_page
def test_paths_of_the_api_exist(page: Path) -> None:
    patterns = [re.compile(re.sub(r"\\{\w+\\}", r"[^/]+", re.escape(route.partition(" ")[2]))) for route in routes()]
    if page.name == "copying-the-bridge.md":
        return  # the example project on this page has its own API
    named = {path.rstrip(".,") for code in code_in(page.read_text()) for path in re.findall(r"(?<![\w.])/api/[\w{}/.-]*", code)}

    assert [path for path in sorted(named - UI_PATHS) if not any(pattern.fullmatch(path) for pattern in patterns)] == []


def test_api_lists_the_scopes_statuses_and_error_codes() -> None:
    errors = {code.strip("`"): int(status) for status, code, *_ in rows(API, "Errors")[1:]}

    assert [row[0].strip("`") for row in rows(API, "Scopes") if ":" in row[0]] == list(SCOPES)
    assert {row[0].strip("`") for row in rows(API, "Status")[1:]} == set(Status)
    assert {error.code: status for error, status in STATUS_BY_ERROR.items()}.items() <= errors.items()
    assert [c for c, status in errors.items() if f'"{c}"' not in SOURCE_CODE and c != HTTPStatus(status).name.lower()] == []


def test_observability_lists_the_metrics() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    listed = {row[0].strip("`").removesuffix("_total") for row in rows(page, "Metrics") if row[0].startswith("`mailrail_")}
    sources = [*(ROOT / "project" / "metrics").glob("*.py"), ROOT / "project" / "delivery" / "queue_collector.py"]
    defined = {name for source in sources for name in re.findall(r'"(mailrail_\w+)"', source.read_text())}

    assert listed == defined


# Pages


@every_page
def test_links_point_to_existing_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text()) + re.findall(r'<img src="([^":]+)"', page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


@every_page
def test_anchors_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", ((page.parent / target) if target else page).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


@every_page
def test_paths_and_named_tests_exist(page: Path) -> None:
    paths = [
        code
        for code in code_in(page.read_text())
        if re.fullmatch(r"(project|fastapi_app|tests|bench|bin|docs)/[\w./-]*", code) and page.name != "copying-the-bridge.md"
    ]
    tests = re.findall(r"\[(test_\w+)\]\(([^)]+)\)", page.read_text())

    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [name for name, path in tests if f"def {name}(" not in (page.parent / path).read_text()] == []


@every_page
def test_admin_urls_exist(page: Path, admin_client: Client) -> None:
    for path in {path for code in code_in(page.read_text()) for path in re.findall(r"(?<![\w.])/(?:admin|play)[a-z_/-]*$", code)}:
        assert admin_client.get(path).status_code == 200, path


def test_admin_urls_of_the_readme_and_renamed_ones_exist(admin_client: Client) -> None:
    named = re.findall(r"127\.0\.0\.1:8000(/(?:admin|play)[a-z/]*)", README)
    moved = [
        row[2].strip("`") for row in rows(CHANGELOG.read_text(), "Renamed before the first release") if row[0] == "admin URL"
    ]

    assert named
    assert moved
    assert {path: admin_client.get(path).status_code for path in [*named, *moved]} == dict.fromkeys([*named, *moved], 200)


def test_the_readme_is_short_and_its_notes_name_tests_of_their_paths() -> None:
    notes = rows(README, "The FastAPI notes, section by section")[1:]

    assert len(README.splitlines()) <= 150
    assert len(notes) == 7
    for section, _file, paths, tests in notes:
        linked = "".join((ROOT / path).read_text() for path in re.findall(r"\]\((tests/[^)]+)\)", tests))
        for path in re.findall(r"/api[\w/.-]*", paths):
            assert f'"{path}' in linked or f'"{path.removeprefix("/api")}' in linked, (section, path)


def test_every_picture_is_shown() -> None:
    pages = "".join(page.read_text() for page in PAGES)

    assert [image.name for image in (ROOT / "docs" / "images").iterdir() if f"images/{image.name}" not in pages] == []


def _literal_values(annotation: Any) -> list[str]:
    return [value for literal in annotation.__args__ for value in getattr(literal, "__args__", ())]


def _as_written(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, tuple):
        return ",".join(_delay_as_written(each) for each in value)
    if isinstance(value, timedelta):
        return _delay_as_written(value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _delay_as_written(delay: timedelta) -> str:
    units = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
    return next(f"{delay // size}{unit}" for unit, size in units.items() if not delay % size)
