"""Startup of Mailrail with the commands of the README, in real processes."""

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

from project.config.database_schema import IncompatibleDatabase
from tests.conftest import StartServer
from tests.databases import create_tables, table_names
from tests.processes import ROOT, SERVERS, Server, free_port, process_env, running, wait_for


def manage(*arguments: str, data: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run manage.py, and return the finished process."""
    env = process_env({"DATA_DIR": str(data), **env})
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.pitfall(8)
def test_daphne_has_no_known_vulnerability() -> None:
    assert get_version_tuple(version("daphne")) >= (4, 2, 2)


@pytest.mark.pitfall(23)
def test_the_application_can_be_imported_first(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", "import sys, project.asgi; print(*sys.modules)"]
    modules = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout.split()

    assert {"celery", "psycopg"}.isdisjoint(modules)  # the default configuration does not pay for them


def test_serve_with_prepare_prints_the_generated_password_once(tmp_path: Path) -> None:
    command = ["manage.py", "serve", "--prepare", "-b", "127.0.0.1", "-p", "{port}"]
    with running(command, log=tmp_path / "first", env={"DATA_DIR": str(tmp_path / "data")}) as first:
        assert first.get("/api/health/ready").status_code == 200
    with running(command, log=tmp_path / "second", env={"DATA_DIR": str(tmp_path / "data")}) as second:
        assert second.get("/admin/login/").status_code == 200

    assert "Created administrator admin. Password (shown only once): " in first.log
    assert "password" not in second.log


@pytest.mark.parametrize("options", [[], ["-p", "{port}"], ["--bind", "127.0.0.1", "--port={port}"]])
def test_serve_listens_on_the_requested_port_and_prints_its_urls(installation: Path, tmp_path: Path, options: list[str]) -> None:
    # The environment variable PORT is always set. The options repeat its value.
    with running(["manage.py", "serve", *options], log=tmp_path / "log", env={"DATA_DIR": str(installation)}) as server:
        assert server.get("/api/").status_code == 200

    assert [f"{server.url}{path} " in server.log for path in ("/", "/admin/", "/api/docs")] == [True, True, True]


def test_serve_listens_on_a_unix_socket_only(installation: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = Server(["manage.py", "serve", "-u", str(path)], log=tmp_path / "log", env={"DATA_DIR": str(installation)})
    wait_for(path.exists, "the socket exists", lambda: server.log)

    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
        assert client.get("/api/").status_code == 200
    assert server.terminate() == 0
    assert "http://" not in server.log


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_serve_cleanly(start: StartServer, signal_number: signal.Signals) -> None:
    server = start()

    server.process.send_signal(signal_number)

    assert server.wait() == 0
    assert "Traceback" not in server.log


def test_runserver_serves_both_halves_and_static_files(installation: Path, tmp_path: Path) -> None:
    command = ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"]
    with running(command, log=tmp_path / "log", env={"DATA_DIR": str(installation), "DEBUG": "true"}) as server:
        assert server.get("/api/health/ready").json()["checks"]["delivery"] == "ok"
        assert server.get("/static/admin/css/base.css").status_code == 200


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)

    assert manage("prepare", data=tmp_path / "data").returncode == 0
    files = [file for file in (tmp_path / "data").iterdir() if file.is_file()]  # static files, in a subdirectory, are public
    assert {"mailrail.sqlite3", "secret_key"} <= {file.name for file in files}
    assert [file for file in files if file.stat().st_mode & 0o077] == []


def test_serve_refuses_an_unprepared_database(tmp_path: Path) -> None:
    result = manage("serve", "-b", "127.0.0.1", "-p", "0", data=tmp_path)

    assert result.returncode == 1
    assert result.stderr.startswith("The database is not prepared for this version: run `manage.py prepare`")


@pytest.mark.parametrize("options", [[], ["--drain"]])
def test_deliver_refuses_an_unprepared_database(tmp_path: Path, options: list[str]) -> None:
    result = manage("deliver", *options, data=tmp_path)

    assert result.returncode == 1
    assert result.stderr.startswith("The database is not prepared for this version: run `manage.py prepare`")


def test_serve_help_has_its_own_options_and_those_of_daphne(tmp_path: Path) -> None:
    result = manage("serve", "--help", data=tmp_path)

    assert result.returncode == 0
    assert "--processes N" in result.stdout
    assert "--unix-socket" in result.stdout


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "http", "Port to listen on"),
        ("DEBUG", "perhaps", "For development only"),
        ("SECRET_KEY", "hush", "Signs sessions and access tokens"),
        ("EMAIL_URL", "ftp://x:hush@y", "Where emails are sent"),
    ],
)
def test_an_invalid_value_stops_the_start_and_is_named(tmp_path: Path, name: str, value: str, expected: str) -> None:
    result = manage("serve", data=tmp_path, **{name: value})

    assert result.returncode == 1
    assert result.stderr.startswith(f"{name}: ")
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert "hush" not in result.stderr


def test_ctrl_c_before_it_listens_exits_without_a_traceback(installation: Path, tmp_path: Path) -> None:
    server = Server(["manage.py", "serve"], log=tmp_path / "log", env={"DATA_DIR": str(installation)})
    server.wait_for_log("Mailrail:")
    server.process.send_signal(signal.SIGINT)

    assert (server.wait(), "Traceback" in server.log) == (130, False)


@pytest.mark.parametrize("worker", ["in_process", "subprocess"])
def test_an_application_that_fails_to_start_logs_the_reason_once(data: Path, worker: str) -> None:
    shutil.rmtree(data / "workers", ignore_errors=True)
    (data / "workers").write_text("a file instead of the directory of the workers")

    result = manage("serve", "-p", "0", data=data, DELIVERY_WORKER=worker)

    assert result.returncode == 1
    assert "The application did not start" in result.stderr
    assert f"{data / 'workers'}" in result.stderr
    assert result.stderr.count("Traceback") == 1


# A database from before the first release


@pytest.fixture
def pre_release_data(tmp_path: Path) -> Path:
    """Return a data directory whose database was made before the first release, when emails were in the app "outbox"."""
    folder = tmp_path / "data"
    folder.mkdir()
    create_tables(
        folder,
        "CREATE TABLE django_migrations (id integer PRIMARY KEY, app text, name text, applied timestamp)",
        "INSERT INTO django_migrations VALUES (1, 'outbox', '0001_initial', '2026-11-01')",
        "CREATE TABLE outbox_email (id char(32) PRIMARY KEY)",
    )
    return folder


@pytest.mark.parametrize(
    "arguments",
    [["serve", "-p", "0"], ["serve", "--prepare", "-p", "0"], ["prepare"], ["deliver"], ["deliver", "--drain"]],
    ids=" ".join,
)
def test_commands_refuse_a_database_from_before_the_first_release(pre_release_data: Path, arguments: list[str]) -> None:
    result = manage(*arguments, data=pre_release_data)

    assert (result.returncode, result.stderr) == (1, f"{IncompatibleDatabase()}\n")
    assert table_names(pre_release_data) == {"django_migrations", "outbox_email"}  # the tables are unchanged


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_other_servers_refuse_a_database_from_before_the_first_release(pre_release_data: Path, tmp_path: Path, kind: str) -> None:
    server = Server(SERVERS[kind], log=tmp_path / "log", env={"DATA_DIR": str(pre_release_data)})

    assert server.wait() != 0
    assert str(IncompatibleDatabase()) in server.log
    assert server.log.count("Traceback") == 1


def test_other_servers_start_if_the_database_is_unavailable(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path), "DATABASE_URL": f"postgres://mail@127.0.0.1:{free_port()}/mail"}

    with running(SERVERS["daphne"], log=tmp_path / "log", env=env) as server:
        assert server.get("/api/health/live").status_code == 200
        assert server.get("/api/health/ready").status_code == 503
