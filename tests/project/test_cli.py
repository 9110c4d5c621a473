"""manage.py, where what it is told to use cannot be used: one line that names the variable."""

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
    """Run it to its end."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(data), "PORT": "0", **env}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def away() -> str:
    """The URL of a database where nobody listens."""
    return f"postgres://mail:hunter2@127.0.0.1:{free_port()}/mail"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_database_that_is_away_ends_a_command_in_a_line(tmp_path: Path, arguments: list[str]) -> None:
    ended = manage(*arguments, data=tmp_path, DATABASE_URL=away())

    assert (ended.returncode, ended.stderr) == (1, "DATABASE_URL: the database cannot be used: Connection refused.\n")


@pytest.mark.parametrize("arguments", [["serve"], ["deliver"], *COMMANDS], ids=" ".join)
def test_a_folder_that_is_none_ends_a_command_in_a_line(tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "file"
    file.touch()

    ended = manage(*arguments, data=file / "data")

    assert (ended.returncode, ended.stderr) == (1, f"DATA_DIR: {file}/data cannot be used: Not a directory.\n")


@pytest.mark.parametrize("path", ["/proc/nope", "/proc/nope/nor/here"])
def test_a_folder_that_cannot_be_made_ends_a_command_in_a_line(path: str) -> None:
    ended = manage("prepare", data=Path(path))

    assert (ended.returncode, ended.stderr) == (1, f"DATA_DIR: {path} cannot be used: No such file or directory.\n")


def test_a_database_that_cannot_be_opened_is_the_folders(tmp_path: Path) -> None:
    (tmp_path / "mailrail.sqlite3").mkdir()

    ended = manage("prepare", data=tmp_path)

    assert (ended.returncode, ended.stderr) == (1, "DATA_DIR: its database cannot be used: unable to open database file.\n")


def test_who_asks_for_a_traceback_has_it(tmp_path: Path) -> None:
    ended = manage("prepare", "--traceback", data=tmp_path, DATABASE_URL=away())

    assert (ended.returncode, "Traceback" in ended.stderr, "hunter2" in ended.stderr) == (1, True, False)


def test_another_file_that_is_missing_is_no_fault_of_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_arguments: list[str]) -> None:
        raise FileNotFoundError(ENOENT, "No such file or directory", "/elsewhere/file")

    monkeypatch.setattr(cli, "execute_from_command_line", fail)

    with pytest.raises(FileNotFoundError):
        main(["manage.py", "loaddata"])


def test_serve_starts_while_the_database_is_away(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path), "DATABASE_URL": away()}

    with running(SERVERS["serve"], log=tmp_path / "log", env=env) as server:
        assert server.get("/api/health/ready").status_code == 503
