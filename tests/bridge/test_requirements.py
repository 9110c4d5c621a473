"""Compares docs/copying-the-bridge.md, which lists the requirements of the bridge's packages and modules, with the code."""

import ast
import re
import shlex
import sys
from typing import NamedTuple

import pytest

from tests.processes import ROOT

BRIDGE = ROOT / "project" / "bridge"
PAGE = (ROOT / "docs" / "copying-the-bridge.md").read_text()
INSTALLED_WITH = {"starlette": "fastapi", "twisted": "daphne"}
MAX_DOCSTRING_LINES = 5

NAMES = sorted(".".join(path.relative_to(BRIDGE).with_suffix("").parts) for path in BRIDGE.rglob("*.py"))
MODULES = [name for name in NAMES if not name.endswith("__init__")]
PACKAGES = [name.removesuffix(".__init__") for name in NAMES if name.endswith(".__init__")]
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
ROW = re.compile(r"^\| `([\w.]+)` \| (.*?) ?\| (.*?) ?\| (.*?) ?\| (.*?) ?\|$", re.MULTILINE)


class Row(NamedTuple):
    """One module's row in the page's tables."""

    section: str
    module: str
    public_names: list[str]
    also_copy: list[str]
    packages: list[str]
    settings: set[str]


class Requirements(NamedTuple):
    """The bridge's modules that a module imports, directly or indirectly, and the packages that all these modules need."""

    modules: set[str]
    packages: set[str]


def rows() -> list[Row]:
    """Return all rows of the page's tables."""
    return [
        Row(
            section,
            module,
            _code(names),
            _code(also_copy),
            re.findall(r"\w+", packages),
            set(re.findall(r"`([A-Z_]+)`", settings)),
        )
        for section, text in SECTIONS.items()
        for module, names, also_copy, packages, settings in ROW.findall(text)
    ]


def _code(text: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", text)


def parse(module: str) -> ast.Module:
    """Return the syntax tree of a module of the bridge."""
    return ast.parse(BRIDGE.joinpath(*module.split(".")).with_suffix(".py").read_text())


def imported_from_the_bridge(module: str) -> set[str]:
    """Return the bridge's modules that a module imports directly."""
    found = set()
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.ImportFrom) and node.level:
            origin = [*module.split(".")[: -node.level], *(node.module.split(".") if node.module else [])]
            targets = {".".join([*origin, alias.name]) for alias in node.names}
            found |= targets & set(MODULES) or {".".join(origin)}
    return found


def imported_packages(module: str) -> set[str]:
    """Return the installed packages that a module imports directly."""
    nodes = list(ast.walk(parse(module)))
    names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    packages = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    return {INSTALLED_WITH.get(name, name) for name in packages}


def requirements(module: str) -> Requirements:
    """Return the requirements of a module, including the requirements of the bridge's modules that it imports."""
    direct = imported_from_the_bridge(module)
    indirect = [requirements(each) for each in direct]
    return Requirements(
        direct.union(*(each.modules for each in indirect)),
        imported_packages(module).union(*(each.packages for each in indirect)),
    )


def read_settings(module: str) -> set[str]:
    """Return the Django settings that a module reads itself."""
    nodes = ast.walk(parse(module))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "settings"}


def public_definitions(module: str) -> set[str]:
    """Return the public classes and functions that a module defines."""
    nodes = [node for node in parse(module).body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in nodes if not node.name.startswith("_")}


def public_variables(module: str) -> set[str]:
    """Return the public constants and other variables that a module defines."""
    targets = [target for node in parse(module).body if isinstance(node, ast.Assign) for target in node.targets]
    return {target.id for target in targets if isinstance(target, ast.Name) and not target.id.startswith("_")}


every_row = pytest.mark.parametrize("row", rows(), ids=lambda row: row.module)
every_part = pytest.mark.parametrize("name", [*PACKAGES, "sessions"])


@every_row
def test_the_page_lists_the_requirements_of_a_module(row: Row) -> None:
    real = requirements(row.module)

    assert (row.also_copy, row.packages) == (sorted(real.modules), sorted(real.packages))


@every_row
def test_the_page_lists_a_modules_public_names(row: Row) -> None:
    defined = public_definitions(row.module)

    assert row.public_names == sorted(row.public_names)
    assert defined <= set(row.public_names) <= defined | public_variables(row.module)


@every_row
def test_the_page_lists_the_settings_that_a_module_reads(row: Row) -> None:
    assert read_settings(row.module) <= row.settings


def test_the_scanner_finds_settings() -> None:
    assert read_settings("middleware.trusted_hosts") == {"ALLOWED_HOSTS"}


def test_the_page_lists_every_module_in_its_packages_section() -> None:
    assert sorted((row.section, row.module) for row in rows()) == [(name.partition(".")[0], name) for name in MODULES]


@every_part
def test_the_page_links_the_tests_of_every_package(name: str) -> None:
    linked = set(re.findall(r"\]\(\.\./(tests/[\w/.]+)\)", SECTIONS[name]))
    folder = ROOT / "tests" / "bridge" / name
    own = {f"tests/bridge/{name}/{path.name}" for path in folder.glob("test_*.py")} or {f"tests/bridge/test_{name}.py"}

    assert {path for path in linked if path.startswith("tests/bridge/")} == own
    assert [path for path in linked if not (ROOT / path).exists()] == []


@every_part
def test_a_package_docstring_lists_the_requirements_in_a_few_lines(name: str) -> None:
    docstring = ast.get_docstring(parse(f"{name}.__init__" if name in PACKAGES else name)) or ""

    assert "needs" in docstring.lower()
    assert len(docstring.splitlines()) <= MAX_DOCSTRING_LINES


@pytest.mark.parametrize("name", ["__init__", *(f"{name}.__init__" for name in PACKAGES)])
def test_the_init_module_of_a_package_contains_only_a_docstring(name: str) -> None:
    """As a result, a copied module needs only the modules and packages in its row of the page's tables."""
    assert [type(node) for node in parse(name).body] == [ast.Expr]


def test_the_page_installs_the_packages_of_its_project() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    nodes = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}".removeprefix("shop.bridge.") for node in nodes for alias in node.names}
    used = {module for module in MODULES if any(f"{name}.".startswith(f"{module}.") for name in names)}
    [pip] = re.findall(r"^pip install (.*)$", PAGE, re.MULTILINE)

    installed = {re.sub(r"[<>=].*", "", word) for word in shlex.split(pip, comments=True)}

    assert used >= {"server.command_line", "server.reactor", "database.transactions"}
    assert set().union(*(requirements(module).packages for module in used)) == installed
