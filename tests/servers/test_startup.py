"""Starting: the commands of the README, each in a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from django.utils.version import get_version_tuple

from tests.conftest import StartServer
from tests.processes import ROOT, Server, running, wait_for


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


@pytest.mark.parametrize("options", [[], ["-p", "{port}"], ["--bind", "127.0.0.1", "--port={port}"]])
def test_serve_listens_where_it_is_told_and_says_where_to_look(installation: Path, tmp_path: Path, options: list[str]) -> None:
    # PORT is set for all of them; the options say the same.
    with running(["manage.py", "serve", *options], log=tmp_path / "log", env={"DATA_DIR": str(installation)}) as server:
        assert server.get("/api/").status_code == 200

    assert [f"{server.url}{path} " in server.log for path in ("/", "/admin/", "/api/docs")] == [True, True, True]


def test_serve_listens_on_a_unix_socket_alone(installation: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = Server(["manage.py", "serve", "-u", str(path)], log=tmp_path / "log", env={"DATA_DIR": str(installation)})
    wait_for(path.exists, "the socket is there", lambda: server.log)

    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
        assert client.get("/api/").status_code == 200
    assert server.terminate() == 0
    assert "http://" not in server.log


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_sigterm_end_it_cleanly(start: StartServer, how: signal.Signals) -> None:
    server = start()

    server.process.send_signal(how)

    assert server.wait() == 0
    assert "Traceback" not in server.log


def test_runserver_serves_both_halves_and_static_files(installation: Path, tmp_path: Path) -> None:
    command = ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"]
    with running(command, log=tmp_path / "log", env={"DATA_DIR": str(installation), "DEBUG": "true"}) as server:
        assert server.get("/api/health/ready").json()["checks"]["engine"] == "ok"
        assert server.get("/static/admin/css/base.css").status_code == 200


def test_what_is_written_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)

    assert manage("prepare", data=tmp_path / "data").returncode == 0
    files = [file for file in (tmp_path / "data").iterdir() if file.is_file()]  # but for static files, which are public
    assert {"mailrail.sqlite3", "secret_key"} <= {file.name for file in files}
    assert [file for file in files if file.stat().st_mode & 0o077] == []


def test_serve_does_not_start_on_a_database_that_is_not_made(tmp_path: Path) -> None:
    told = manage("serve", "-b", "127.0.0.1", "-p", "0", data=tmp_path)

    assert told.returncode == 1
    assert told.stderr.startswith("CommandError: The database is not made for this version: `manage.py prepare`")


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


def test_ctrl_c_before_it_listens_needs_no_traceback(installation: Path, tmp_path: Path) -> None:
    server = Server(["manage.py", "serve"], log=tmp_path / "log", env={"DATA_DIR": str(installation)})
    server.wait_for_log("Mailrail:")
    server.process.send_signal(signal.SIGINT)

    assert (server.wait(), "Traceback" in server.log) == (130, False)


@pytest.mark.parametrize("deliver", ["in_process", "subprocess"])
def test_an_application_that_cannot_start_says_why_once(data: Path, deliver: str) -> None:
    shutil.rmtree(data / "workers", ignore_errors=True)
    (data / "workers").write_text("a file where the engine wants its folder")

    told = manage("serve", "-p", "0", data=data, DELIVERY_WORKER=deliver)

    assert told.returncode == 1
    assert "The application did not start" in told.stderr
    assert f"{data / 'engines'}" in told.stderr
    assert told.stderr.count("Traceback") == 1
