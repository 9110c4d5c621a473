"""The repository contains no secret, and requires no package with a known vulnerability."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from project.api_keys.keys import create_key
from tests.processes import ROOT

EXCLUDED_PATHS = [".venv", "build", "var", ".*_cache", ".coverage*", "htmlcov"]
OFFLINE = ["--no-validate", "--no-update-check"]  # the scanner sends no secret anywhere, not even to validate it
EXIT_CODE_FOUND = 200


def tool(name: str) -> str:
    """Return the path of a program that requirements-dev.txt installs. Skips the test if the program is not installed."""
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def scan(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Scan a directory for secrets, and its git history if it is a repository."""
    command = [tool("kingfisher"), "scan", ".", "--rules-path", str(ROOT / ".kingfisher.yml"), *OFFLINE, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_repository_and_its_history_contain_no_secret() -> None:
    excluded = [option for name in EXCLUDED_PATHS for option in ("--exclude", name)]

    scanned = scan(ROOT, "--quiet", "--redact", *excluded)

    assert (scanned.returncode, scanned.stdout) == (0, "")


@pytest.mark.django_db
def test_the_scan_finds_a_mailrail_api_key(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(f"The key is {create_key('shop', scopes=['emails:send'])}.\n")

    scanned = scan(tmp_path)

    assert scanned.returncode == EXIT_CODE_FOUND
    assert "MAILRAIL.API-KEY" in scanned.stdout


def test_no_pinned_package_has_a_known_vulnerability() -> None:
    command = [
        tool("pip-audit"),
        "--disable-pip",
        "--require-hashes",
        "-r",
        "requirements-dev.txt",
    ]  # this file includes every package of requirements.txt
    options = ["--format", "json", "--progress-spinner", "off"]
    audited = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    if not audited.stdout:
        pytest.skip(f"pip-audit could not reach a vulnerability database: {audited.stderr.strip()[-200:]}")

    packages = json.loads(audited.stdout)["dependencies"]
    vulnerabilities = {package["name"]: [each["id"] for each in package["vulns"]] for package in packages if package.get("vulns")}
    unknown = [package for package in packages if "skip_reason" in package]

    assert vulnerabilities == {}
    if unknown:
        pytest.skip(f"the package index has no vulnerability data for {len(unknown)} of {len(packages)} packages")
