"""Which commands share their metrics, and with which processes."""

import os
import sys
from pathlib import Path

import pytest

from project.config import metrics_directory as directory
from project.config.metrics_directory import VARIABLE, create_directory, is_first_process, share_metrics, share_metrics_of_celery


@pytest.fixture(autouse=True)
def _no_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(directory, "_owner_id", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.parametrize("command", ["serve", "deliver"])
def test_a_command_that_starts_processes_creates_a_private_folder(command: str) -> None:
    share_metrics(["manage.py", command])

    folder = Path(os.environ[VARIABLE])
    assert (folder.stat().st_mode & 0o777, is_first_process()) == (0o700, True)


@pytest.mark.parametrize("arguments", [["manage.py"], ["manage.py", "migrate"]])
def test_other_commands_create_no_folder(arguments: list[str]) -> None:
    share_metrics(arguments)

    assert (os.environ[VARIABLE], is_first_process()) == ("", False)


def test_a_celery_worker_shares_metrics_only_if_the_library_is_not_imported_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["celery", "-A", "project", "worker"]
    share_metrics_of_celery(command)  # pytest has imported the library
    assert not is_first_process()

    monkeypatch.delitem(sys.modules, "prometheus_client")
    share_metrics_of_celery(["celery", "-A", "project", "beat"])
    assert not is_first_process()

    share_metrics_of_celery(command)
    assert is_first_process()


def test_a_child_process_uses_the_folder_of_its_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    share_metrics(["manage.py", "deliver", "--subprocess"])

    assert (os.environ[VARIABLE], is_first_process()) == (str(tmp_path), False)


def test_only_the_process_that_created_the_folder_deletes_it() -> None:
    folder = create_directory()

    directory._remove(folder, os.getpid() + 1)
    assert folder.exists()

    directory._remove(folder, os.getpid())
    assert not folder.exists()
