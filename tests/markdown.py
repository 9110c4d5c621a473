"""Helpers to read the Markdown pages of the documentation."""

import re

from tests.processes import ROOT

CHANGELOG = ROOT / "CHANGELOG.md"
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if path != CHANGELOG)


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of all table rows of a section, header rows included."""
    section = re.split(r"^#+ ", page.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def code_in(text: str) -> list[str]:
    """Return the code spans of a Markdown text, and the lines of its code blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", prose), *(line for block in blocks for line in block.replace("\\\n", " ").splitlines())]
