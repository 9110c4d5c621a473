"""Rules that import-linter cannot check, for example on the ORM in async code, on docstrings, and on the length of code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

FUNCTION_LINES, MODULE_LINES = 45, 250
ASYNC_ORM = {
    *("aget", "acreate", "aget_or_create", "aupdate_or_create", "abulk_create", "abulk_update", "acount", "aexists", "afirst"),
    *("alast", "alatest", "aearliest", "aaggregate", "acontains", "ain_bulk", "aiterator", "aupdate", "adelete", "asave"),
    *("arefresh_from_db", "aauthenticate", "alogin", "alogout"),
}
OTHER_WRAPPERS = {"sync_to_async", "database_sync_to_async", "aclose_old_connections"}

MODULES = sorted(
    path for half in ("project", "fastapi_app") for path in (ROOT / half).rglob("*.py") if "migrations" not in path.parts
)
BRIDGE = ROOT / "project" / "bridge"
FASTAPI_HALF = [path for path in MODULES if path.is_relative_to(ROOT / "fastapi_app")]

every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(module: ast.Module) -> Iterator[str]:
    """Yield the dotted names of all imports of a module, including imports inside functions."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (f"{node.module}." if node.module else "")
            yield from (f"{origin}{alias.name}" for alias in node.names)


def own_nodes(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of an async function that run in the event loop. Nested functions and lambdas are skipped."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def orm_calls(module: ast.Module) -> list[str]:
    """Return the ORM names that async functions use without `run_in_transaction`, and all names in `OTHER_WRAPPERS`."""
    functions = (node for node in ast.walk(module) if isinstance(node, ast.AsyncFunctionDef))
    nodes = (node for function in functions for node in own_nodes(function))
    attributes = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    found = [name for name in attributes if name == "objects" or name in ASYNC_ORM]
    return found + [name for name in _names(module) if name in OTHER_WRAPPERS]


def _names(module: ast.Module) -> list[str]:
    loaded = [node.id for node in ast.walk(module) if isinstance(node, ast.Name)]
    loaded += [node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute)]
    return loaded + [name.rpartition(".")[2] for name in imports(module)]


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Return the length of a definition in lines, without its decorators."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


# The scanner itself


@pytest.mark.parametrize(
    ("snippet", "found"),
    [
        ("async def f(): return Email.objects.get()", ["objects"]),
        ("async def f():\n async with x:\n  async for e in Email.objects.all(): pass", ["objects"]),
        ("async def f(email): await email.asave()", ["asave"]),
        ("async def f(email): await email.adelete()", ["adelete"]),
        ("async def f(emails): return [await e.afirst() for e in emails]", ["afirst"]),
        ("async def f(emails): return await emails.acount() or await emails.aexists()", ["aexists", "acount"]),
        ("class C:\n async def f(self): await self.emails.aupdate(status=1)", ["aupdate"]),
        ("def f():\n async def g(): await Email.objects.aget()", ["aget", "objects"]),
        ("from asgiref.sync import sync_to_async as s", ["sync_to_async"]),
        ("f = sync_to_async(g)", ["sync_to_async"]),
        ("import channels.db\nf = channels.db.database_sync_to_async(g)", ["database_sync_to_async"]),
        ("async def f(): return await run_in_transaction(get_email)", []),
        ("async def f(): return await run_in_transaction(lambda: Email.objects.get())", []),
        ("async def f():\n def get(): return Email.objects.get()\n return await run_in_transaction(get)", []),
        ("def f(): return Email.objects.get()", []),
    ],
)
def test_the_scanner_finds_orm_calls_outside_run_in_transaction(snippet: str, found: list[str]) -> None:
    assert orm_calls(ast.parse(snippet)) == found


def test_the_scanner_finds_imports() -> None:
    module = ast.parse("import django.db\nfrom . import a\nfrom .b import c\ndef f():\n from django.db import models")

    assert list(imports(module)) == ["django.db", ".a", ".b.c", "django.db.models"]


def test_there_is_something_to_scan() -> None:
    assert len(MODULES) > len(FASTAPI_HALF) > 10


# The modules


@every_module
@pytest.mark.pitfall(9, 11)
def test_async_code_uses_the_orm_only_through_run_in_transaction(path: Path) -> None:
    assert orm_calls(tree(path)) == []


@pytest.mark.parametrize("path", FASTAPI_HALF, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_fastapi_half_contains_no_sql(path: Path) -> None:
    assert [name for name in imports(tree(path)) if f"{name}.".startswith("django.db.")] == []


@pytest.mark.parametrize("path", sorted(BRIDGE.rglob("*.py")), ids=lambda path: str(path.relative_to(BRIDGE)))
def test_the_bridge_imports_nothing_of_this_project(path: Path) -> None:
    outside = "." * (len(path.relative_to(BRIDGE).parts) + 1)  # the start of a relative import from above the bridge

    assert [name for name in imports(tree(path)) if name.startswith(("project.", "fastapi_app.", outside))] == []


@every_module
@pytest.mark.pitfall(20)
def test_middleware_is_pure_asgi(path: Path) -> None:
    assert "BaseHTTPMiddleware" not in _names(tree(path))


@every_module
def test_every_module_has_a_docstring(path: Path) -> None:
    module = tree(path)

    assert ast.get_docstring(module) or module.body == []


@every_module
def test_no_module_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES


@every_module
def test_no_function_is_too_long(path: Path) -> None:
    functions = (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    assert {function.name: lines(function) for function in functions if lines(function) > FUNCTION_LINES} == {}
