"""What is in the repository: no secret, and no package with a known hole."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from project.api_keys.keys import create_key
from tests.processes import ROOT

NOT_OURS = [".venv", "build", "var", ".*_cache", ".coverage*", "htmlcov"]
OFFLINE = ["--no-validate", "--no-update-check"]  # a secret is told to nobody, to see whether it works neither
FOUND = 200


def tool(name: str) -> str:
    """A program of requirements-dev.txt."""
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def scan(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Look for secrets in a folder, and in its history if it is a repository."""
    command = [tool("kingfisher"), "scan", ".", "--rules-path", str(ROOT / ".kingfisher.yml"), *OFFLINE, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_no_secret_is_in_the_repository_or_its_history() -> None:
    excluded = [option for name in NOT_OURS for option in ("--exclude", name)]

    scanned = scan(ROOT, "--quiet", "--redact", *excluded)

    assert (scanned.returncode, scanned.stdout) == (0, "")


@pytest.mark.django_db
def test_a_key_of_ours_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(f"It is {create_key('shop', scopes=['emails:send'])}, says Ada.\n")

    scanned = scan(tmp_path)

    assert scanned.returncode == FOUND
    assert "MAILRAIL.API-KEY" in scanned.stdout


def test_no_pinned_package_has_a_known_hole() -> None:
    command = [
        tool("pip-audit"),
        "--disable-pip",
        "--require-hashes",
        "-r",
        "requirements-dev.txt",
    ]  # all that the other has, too
    options = ["--format", "json", "--progress-spinner", "off"]
    audited = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    if not audited.stdout:
        pytest.skip(f"pip-audit reached nobody who knows: {audited.stderr.strip()[-200:]}")

    packages = json.loads(audited.stdout)["dependencies"]
    holes = {package["name"]: [hole["id"] for hole in package["vulns"]] for package in packages if package.get("vulns")}
    unknown = [package for package in packages if "skip_reason" in package]

    assert holes == {}
    if unknown:
        pytest.skip(f"the package index here tells of no holes in {len(unknown)} of {len(packages)} packages")
