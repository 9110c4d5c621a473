"""Starting: the commands of the README, each in a process of its own."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from django.utils.version import get_version_tuple

from tests.processes import ROOT, running


def manage(*arguments: str, data: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run manage.py to its end."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "DATA_DIR": str(data), **env}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.pitfall(8)
def test_daphne_is_one_without_known_holes() -> None:
    assert get_version_tuple(version("daphne")) >= (4, 2, 2)


@pytest.mark.pitfall(23)
def test_the_application_can_be_the_first_thing_imported(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", "import project.asgi"], cwd=ROOT, env=env, check=True)


def test_prepare_shows_the_made_up_password_once_and_serve_follows(tmp_path: Path) -> None:
    command = ["manage.py", "serve", "--prepare", "-b", "127.0.0.1", "-p", "{port}"]
    with running(command, log=tmp_path / "first", env={"DATA_DIR": str(tmp_path / "data")}) as first:
        assert first.get("/api/health/ready").status_code == 200
    with running(command, log=tmp_path / "second", env={"DATA_DIR": str(tmp_path / "data")}) as second:
        assert second.get("/admin/login/").status_code == 200

    assert "First administrator: admin, password " in first.log
    assert "password" not in second.log


def test_serve_listens_on_host_and_port_and_says_where_to_look(installation: Path, tmp_path: Path) -> None:
    # The port is told by variable, not by option.
    with running(
        ["manage.py", "serve"], log=tmp_path / "log", env={"DATA_DIR": str(installation), "HOST": "127.0.0.1"}
    ) as server:
        assert server.get("/api/").status_code == 200

    assert f"http://127.0.0.1:{server.port}/\n" in server.log
    assert "/admin/" in server.log
    assert "/api/docs" in server.log


def test_runserver_serves_both_halves_and_static_files(installation: Path, tmp_path: Path) -> None:
    command = ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"]
    with running(command, log=tmp_path / "log", env={"DATA_DIR": str(installation), "DEBUG": "true"}) as server:
        assert server.get("/api/health/ready").json()["checks"]["engine"] == "ok"
        assert server.get("/static/admin/css/base.css").status_code == 200


def test_serve_help_is_daphnes(tmp_path: Path) -> None:
    told = manage("serve", "--help", data=tmp_path)

    assert told.returncode == 0
    assert "--unix-socket" in told.stdout


@pytest.mark.parametrize(
    ("name", "value", "wants"),
    [
        ("PORT", "http", "the port to listen on"),
        ("DEBUG", "perhaps", "for development only"),
        ("SECRET_KEY", "hush", "signs sessions and tokens"),
        ("EMAIL_URL", "ftp://x:hush@y", "where mail goes"),
    ],
)
def test_a_bad_value_stops_the_start_by_name(tmp_path: Path, name: str, value: str, wants: str) -> None:
    told = manage("serve", data=tmp_path, **{name: value})

    assert told.returncode == 1
    assert told.stderr.startswith(f"{name}: ")
    assert wants in told.stderr
    assert "Traceback" not in told.stderr
    assert "hush" not in told.stderr


def test_an_application_that_cannot_start_is_told_without_a_traceback_of_ours(installation: Path, tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file where the engine wants its folder")

    told = manage("serve", "-p", "0", data=tmp_path)

    assert told.returncode == 1
    assert "The application did not start" in told.stderr
    assert "engines" in told.stderr
