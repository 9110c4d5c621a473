"""What each part of the bridge needs, as docs/copying-the-bridge.md says it."""

import ast
import re
import shlex
import sys
from typing import NamedTuple

import pytest

from tests.processes import ROOT

BRIDGE = ROOT / "project" / "bridge"
PAGE = (ROOT / "docs" / "copying-the-bridge.md").read_text()
PARTS = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*?) ?\| (.*?) ?\| .* \|$", PAGE, re.MULTILINE)
BROUGHT_BY = {"starlette": "fastapi", "twisted": "daphne"}


class Needs(NamedTuple):
    """Of a part: the modules that it takes along, the packages, and the settings that it reads by their names."""

    along: set[str]
    packages: set[str]
    settings: set[str]


def needs(module: str) -> Needs:
    """What a module of the bridge imports and reads, itself or through others of the bridge."""
    nodes = list(ast.walk(ast.parse((BRIDGE / f"{module}.py").read_text())))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    along = {node.module or alias.name for node in froms if node.level for alias in node.names}
    names = {node.module or "" for node in froms if not node.level}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    packages = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "settings"}
    theirs = [needs(taken) for taken in along]
    return Needs(
        along.union(*(each.along for each in theirs)),
        {BROUGHT_BY.get(name, name) for name in packages}.union(*(each.packages for each in theirs)),
        read.union(*(each.settings for each in theirs)),
    )


@pytest.mark.parametrize(("part", "along", "packages"), [part[:3] for part in PARTS], ids=[part[0] for part in PARTS])
def test_a_part_needs_what_the_page_says(part: str, along: str, packages: str) -> None:
    real = needs(part)

    assert (sorted(real.along), sorted(real.packages)) == (re.findall(r"`(\w+)`", along), re.findall(r"\w+", packages))


def test_the_page_names_every_part() -> None:
    modules = {path.stem for path in BRIDGE.glob("*.py")} - {"__init__"}

    assert {name for part in PARTS for name in (part[0], *re.findall(r"`(\w+)`", part[1]))} == modules


def test_the_page_names_every_setting_that_is_read() -> None:
    read = {part[0]: needs(part[0]).settings for part in PARTS}
    told = set(re.findall(r"`([A-Z_]+)`", " ".join(part[3] for part in PARTS)))

    assert read["hosts"] == {"ALLOWED_HOSTS"}
    assert {name: settings - told for name, settings in read.items() if settings - told} == {}


def test_the_page_installs_what_its_project_needs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    froms = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}".split(".") for node in froms for alias in node.names]
    parts = {name[2] for name in names if name[:2] == ["shop", "bridge"]}
    [pip] = re.findall(r"^pip install (.*)$", PAGE, re.MULTILINE)

    installed = {re.sub(r"[<>=].*", "", word) for word in shlex.split(pip, comments=True)}

    assert parts >= {"server", "reactor", "database"}
    assert set().union(*(needs(part).packages for part in parts)) == installed
