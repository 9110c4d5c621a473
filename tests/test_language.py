"""Checks for plain English in docstrings, comments, documentation and HTML templates. See "Language" in CONTRIBUTING.md."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

Text = tuple[int, str]  # the number of the text's first line, and the text

SOURCES = [*(path for name in ("project", "fastapi_app", "tests", "bench", "docs") for path in (ROOT / name).rglob("*.py"))]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
TEMPLATES = [*(ROOT / "project" / "templates").rglob("*.html")]
FILES = sorted(path for path in [*SOURCES, *PAGES, *TEMPLATES] if "migrations" not in path.parts)

# A docstring that starts with one of these words has a clause instead of a noun as its subject.
HEADLESS = re.compile(r"(Who|What|Whether|How|Whose|Whom|Whoever|Those|That)\b")
BANNED_WORDS = (
    "henceforth",
    "likewise",
    "thereby",
    "whom",
    "whomever",
    "whoever",
    "nobody",
    "dear",
    "e-mail",
    "e-mails",
    "mails",
)
BANNED_PHRASES = ("is told", "are told", "in hand", "of its own accord", "for ever")
_BANNED = "|".join((*BANNED_WORDS, *BANNED_PHRASES)).replace(" ", r"\s+")
BANNED = re.compile(rf"(?<![\w./-])({_BANNED})(?![\w/-])", re.IGNORECASE)

CODE_OR_URL = re.compile(r"^```.*?^```|(`+)[^`].*?\1|https?://\S+|(?<=\])\([^)]*\)", re.DOTALL | re.MULTILINE)
MARKUP = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)


def docstrings(source: str) -> Iterator[Text]:
    """Yield the docstrings of a module, its classes and its functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            literal = node.body[0]
            assert isinstance(literal, ast.Expr)
            assert isinstance(literal.value, ast.Constant)
            yield literal.lineno, str(literal.value.value)


def comments(source: str) -> Iterator[Text]:
    """Yield the comments. Comments on consecutive lines are one text, because a phrase may continue on the next line."""
    start, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if lines and token.start[0] != start + len(lines):
            yield start, "\n".join(lines)
            lines = []
        start = start if lines else token.start[0]
        lines.append(token.string.lstrip("#"))
    if lines:
        yield start, "\n".join(lines)


def without(pattern: re.Pattern[str], text: str) -> str:
    """Return the text with every match replaced by spaces. Line breaks are kept."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def banned_words(texts: Iterator[Text]) -> list[str]:
    """Return `line: word` for every banned word or phrase."""
    return [
        f"{line + text.count(chr(10), 0, match.start())}: {' '.join(match[0].split())}"
        for line, text in ((line, without(CODE_OR_URL, text)) for line, text in texts)
        for match in BANNED.finditer(text)
    ]


def offenders(path: Path, source: str) -> list[str]:
    """Return `file:line: problem` for each text in a file that breaks the rules."""
    found = []
    if path.suffix == ".py":
        found = [
            f"{line}: docstring starts with {match[0]}" for line, text in docstrings(source) if (match := HEADLESS.match(text))
        ]
        found += banned_words(docstrings(source)) + banned_words(comments(source))
    else:
        found = banned_words(iter([(1, without(MARKUP, source) if path.suffix == ".html" else source)]))
    return [f"{path.relative_to(ROOT)}:{each}" for each in found]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_is_written_in_plain_english(path: Path) -> None:
    assert offenders(path, path.read_text(encoding="utf-8")) == []


SAMPLE = '''"""Whose it is."""

# It is in
# hand.
x = "whom"  # Nobody, `mails`, mails_sent


def f():
    """Return
    dear e-mails."""
'''


def test_finds_a_headless_docstring_and_banned_words_in_python() -> None:
    assert offenders(ROOT / "x.py", SAMPLE) == [
        "x.py:1: docstring starts with Whose",
        "x.py:10: dear",
        "x.py:10: e-mails",
        "x.py:3: in hand",
        "x.py:5: Nobody",
    ]


def test_finds_banned_words_outside_code_and_tags() -> None:
    page = "One `mails`, two mails.\n```sh\nwhom\n```\n[likewise](mails.html), https://a.example/mails\n"
    template = "<p title='mails'>{{ mails }}\n{% if nobody %}Whoever{% endif %}</p>"

    assert offenders(ROOT / "x.md", page) == ["x.md:1: mails", "x.md:5: likewise"]
    assert offenders(ROOT / "x.html", template) == ["x.html:2: Whoever"]
