"""Checks docs/architecture.md and the index of decisions against the code: layers, files, the bridge, pitfalls."""

import ast
import re
import tomllib
from collections import defaultdict

from tests.markdown import rows
from tests.processes import ROOT

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_layers_are_those_of_the_import_contract() -> None:
    diagram = rows_of_diagram(ARCHITECTURE.partition("## Layers")[2])
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [layer.split(" : ") for layer in contract["layers"]]

    assert diagram == [layers[0], ["fastapi_app"], *layers[1:]]


def rows_of_diagram(section: str) -> list[list[str]]:
    """Return the packages on each line of the section's first code block."""
    lines = section.split("```")[1].strip().splitlines()
    return [re.split(r" {2,}", line)[0].split(" · ") for line in lines]


def test_every_behavior_has_files() -> None:
    behaviors = rows(ARCHITECTURE, "Where do I find …")[1:]

    assert len(behaviors) >= 35
    assert [question for question, files in behaviors if "](../" not in files] == []


def test_the_bridge_table_lists_every_module_and_names_that_it_defines() -> None:
    bridge = ROOT / "project" / "bridge"
    listed = {
        match[1]: row[1] for row in rows(ARCHITECTURE, "The bridge, part by part") if (match := re.match(r"\[(.*)\]", row[0]))
    }

    assert sorted(listed) == sorted(str(path.relative_to(bridge)) for path in bridge.rglob("*.py") if path.name != "__init__.py")
    for module, text in listed.items():
        source, names = (bridge / module).read_text(), re.findall(r"`(\w+)`", text.partition(":")[0])
        assert [n for n in names if not re.search(rf"^(?:async def |def |class |){n}\b", source, re.MULTILINE)] == []


def test_the_table_of_pitfalls_names_the_tests_that_cover_them() -> None:
    table = re.findall(r"^\| (\d+[bc]?) \|.*\| *(.*?) *\|$", ARCHITECTURE, re.MULTILINE)
    files = {number: set(re.findall(r"\(\.\./(tests/[^)]+)\)", tests)) for number, tests in table}

    assert files == dict(_marked())
    assert sorted(files) == sorted([*(str(number) for number in range(1, 35)), "7b", "7c", "11b"])


def test_the_map_names_files_that_exist() -> None:
    paths = re.findall(r">((?:project|fastapi_app)/[a-z_./]*)<", (ROOT / "docs" / "images" / "map.svg").read_text())

    assert len(paths) >= 6
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_index_of_decisions_lists_each_with_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^(\d+)\. \[(.*)\]\((.*)\)$", (folder / "README.md").read_text(), re.MULTILINE)

    assert [file for *_, file in listed] == sorted(path.name for path in folder.glob("0*.md"))
    assert [(folder / file).read_text().partition("\n")[0] for *_, file in listed] == [
        f"# {n}. {title}" for n, title, _ in listed
    ]


def _marked() -> dict[str, set[str]]:
    """Return the test files by pitfall. A file belongs to a pitfall if a `pitfall` mark in the file has its number."""
    found = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "pitfall":
                for number in node.args:
                    assert isinstance(number, ast.Constant)
                    found[str(number.value)].add(str(path.relative_to(ROOT)))
    return found
