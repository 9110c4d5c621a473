"""manage.py with an unusable database or data directory prints one line that names the environment variable to change."""

import os
import subprocess
import sys
from errno import ENOENT
from pathlib import Path

import pytest

from project import cli
from project.cli import main
from tests.processes import ROOT, SERVERS, free_port, running

COMMANDS = [
    ["serve", "--prepare"],
    ["prepare"],
    ["deliver", "--drain"],
    ["create_api_key", "shop", "--scope=emails:send"],
]


def manage(*arguments: str, data: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run manage.py, wait until it exits, and return the finished process."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(data), "PORT": "0", **env}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def unavailable_url() -> str:
    """Return the URL of a database server that is not running."""
    return f"postgres://mail:hunter2@127.0.0.1:{free_port()}/mail"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_an_unavailable_database_ends_a_command_with_one_line(tmp_path: Path, arguments: list[str]) -> None:
    result = manage(*arguments, data=tmp_path, DATABASE_URL=unavailable_url())

    assert (result.returncode, result.stderr) == (1, "DATABASE_URL: the database cannot be used: Connection refused.\n")


@pytest.mark.parametrize("arguments", [["serve"], ["deliver"], *COMMANDS], ids=" ".join)
def test_a_data_directory_that_is_a_file_ends_a_command_with_one_line(tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "file"
    file.touch()

    result = manage(*arguments, data=file / "data")

    assert (result.returncode, result.stderr) == (1, f"DATA_DIR: {file}/data cannot be used: Not a directory.\n")


@pytest.mark.parametrize("path", ["/proc/nope", "/proc/nope/nor/here"])
def test_a_data_directory_that_cannot_be_created_ends_a_command_with_one_line(path: str) -> None:
    result = manage("prepare", data=Path(path))

    assert (result.returncode, result.stderr) == (1, f"DATA_DIR: {path} cannot be used: No such file or directory.\n")


def test_a_sqlite_file_that_cannot_be_opened_is_an_error_of_data_dir(tmp_path: Path) -> None:
    (tmp_path / "mailrail.sqlite3").mkdir()

    result = manage("prepare", data=tmp_path)

    assert (result.returncode, result.stderr) == (1, "DATA_DIR: its database cannot be used: unable to open database file.\n")


def test_the_traceback_option_shows_the_traceback(tmp_path: Path) -> None:
    result = manage("prepare", "--traceback", data=tmp_path, DATABASE_URL=unavailable_url())

    assert (result.returncode, "Traceback" in result.stderr, "hunter2" in result.stderr) == (1, True, False)


def test_an_error_about_another_file_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_arguments: list[str]) -> None:
        raise FileNotFoundError(ENOENT, "No such file or directory", "/elsewhere/file")

    monkeypatch.setattr(cli, "execute_from_command_line", fail)

    with pytest.raises(FileNotFoundError):
        main(["manage.py", "loaddata"])


def test_serve_starts_if_the_database_is_unavailable(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path), "DATABASE_URL": unavailable_url()}

    with running(SERVERS["serve"], log=tmp_path / "log", env=env) as server:
        assert server.get("/api/health/ready").status_code == 503
