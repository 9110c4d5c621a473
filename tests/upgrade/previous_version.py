"""The code of the version that may still be running while the newest migration is applied, from the git history."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT

MIGRATIONS = ":(glob)project/*/migrations/[0-9]*.py"
REVISION_VARIABLE = "UPGRADE_FROM"  # a tag or a commit to test instead


def git(*arguments: str) -> bytes:
    """Run git in the repository, and return its output. Raises CalledProcessError."""
    # A checkout may belong to another user, as in containers.
    return subprocess.run(["git", "-c", "safe.directory=*", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def extract_previous_version(folder: Path) -> str:
    """Write the files of the previous version into the folder, and return its revision. Skips the test without a git history."""
    revision = os.environ.get(REVISION_VARIABLE) or _commit_before_the_newest_migration()
    archive = git("archive", revision, "project", "fastapi_app", "manage.py")
    folder.mkdir()
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
    return revision


def _commit_before_the_newest_migration() -> str:
    """Return the last commit without the newest migration. It is HEAD while a new migration is not committed yet."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("NOT TESTED: the previous version's code on this schema. It needs git, and a clone of the repository.")
    if git("status", "--porcelain", "--untracked-files=all", "--", MIGRATIONS):
        return "HEAD"
    newest = git("log", "-1", "--no-renames", "--diff-filter=A", "--format=%H", "--", MIGRATIONS).decode().strip()
    try:
        return git("rev-parse", "--verify", f"{newest}^").decode().strip()
    except subprocess.CalledProcessError:
        pytest.skip("NOT TESTED: the previous version's code on this schema. The clone is shallow: run `git fetch --unshallow`.")
