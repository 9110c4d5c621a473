"""Every wait for PostgreSQL has a limit: for a lock, for a stopped process, and for a server that does not answer."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.bridge.database.transactions import CLOSE_TIMEOUT_SECONDS, PING_AFTER_IDLE_SECONDS
from project.bridge.database.watchdog import CHECK_TIMEOUT_SECONDS, SILENCE_SECONDS
from project.delivery.loop import END_TIMEOUT_SECONDS
from tests.conftest import PASSWORD
from tests.postgresql import PostgreSQL, cluster, program
from tests.processes import BASE_ENV, ROOT, SERVERS, Server, running, wait_for
from tests.smtp import smtp_sink

pytestmark = pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")

EMAIL = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "Hi"}
MARGIN_SECONDS = 5.0  # for a slow machine, in addition to a timeout


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL cluster for the tests of this module."""
    with cluster() as server:
        yield server


@pytest.fixture(scope="module")
def env(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Prepare an installation on PostgreSQL with short timeouts, and return its environment variables."""
    variables = {
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "DATABASE_URL": postgresql.url,
        "ADMIN_PASSWORD": PASSWORD,
        "DATABASE_LOCK_TIMEOUT": "0.5",
        "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT": "1",
        "DELIVERY_WORKER": "external",
    }
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env={**BASE_ENV, "PATH": "", **variables}, check=True)
    return variables


@pytest.fixture(scope="module")
def server(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run Mailrail on PostgreSQL without a delivery worker."""
    with running(SERVERS["serve"], log=tmp_path_factory.mktemp("serve") / "log", env=env) as server:
        yield server


@pytest.fixture(scope="module")
def key(env: dict[str, str], server: Server) -> dict[str, str]:
    """Return the header of an API key that may send emails."""
    command = [sys.executable, "manage.py", "create_api_key", "shop", "--scope", "emails:send", "--scope", "events:read"]
    created = subprocess.run(command, cwd=ROOT, env={**os.environ, **BASE_ENV, **env}, check=True, capture_output=True, text=True)
    headers = {"Authorization": f"Bearer {created.stdout.strip()}"}
    assert server.post("/api/emails", json=EMAIL, headers=headers).status_code == 202
    return headers


def seconds_for(server: Server, headers: dict[str, str], expected_status: int) -> float:
    """Send an email, check the response's status and headers, and return the seconds that the response took."""
    started = time.monotonic()
    response = server.post("/api/emails", json=EMAIL, headers=headers)
    assert (response.status_code, "Retry-After" in response.headers) == (expected_status, expected_status == 503), response.text
    return time.monotonic() - started


@pytest.mark.parametrize(
    "statement", ["LOCK TABLE emails_email", "LOCK TABLE events_event", "LOCK TABLE emails_recipient IN SHARE MODE"]
)
def test_a_lock_of_another_program_delays_a_request_for_the_lock_timeout_only(
    server: Server, key: dict[str, str], postgresql: PostgreSQL, statement: str
) -> None:
    with postgresql.transaction(statement):
        seconds = seconds_for(server, key, 503)

    assert seconds < 0.5 + MARGIN_SECONDS
    seconds_for(server, key, 202)


def test_a_stopped_server_delays_requests_until_the_watchdog_closes_their_connections(
    server: Server, key: dict[str, str], postgresql: PostgreSQL
) -> None:
    with postgresql.stopped_processes():
        seconds = seconds_for(server, key, 503)

    assert seconds < SILENCE_SECONDS + CHECK_TIMEOUT_SECONDS + MARGIN_SECONDS
    seconds_for(server, key, 202)


def test_a_ping_of_an_idle_connection_has_a_limit_too(server: Server, key: dict[str, str], postgresql: PostgreSQL) -> None:
    assert server.get("/api/events", headers=key).status_code == 200
    time.sleep(PING_AFTER_IDLE_SECONDS + 0.1)  # from now on, the connection is pinged before it is used

    with postgresql.stopped_processes():
        started = time.monotonic()
        response = server.get("/api/events", headers=key)
        seconds = time.monotonic() - started

    assert (response.status_code, "Retry-After" in response.headers) == (503, True)
    assert seconds < SILENCE_SECONDS + 2 * CHECK_TIMEOUT_SECONDS + MARGIN_SECONDS  # after the ping, a new connection is tried


def test_a_worker_ends_soon_after_its_grace_period_although_the_server_is_stopped(
    env: dict[str, str], server: Server, key: dict[str, str], postgresql: PostgreSQL, tmp_path: Path
) -> None:
    with smtp_sink() as sink:
        sink.hold()
        environment = {**env, "EMAIL_URL": sink.url, "SHUTDOWN_GRACE": "0.5"}
        worker = Server(["manage.py", "deliver"], log=tmp_path / "log", env=environment)
        server.post("/api/emails", json=EMAIL, headers=key)
        wait_for(lambda: sink.in_flight > 0, "an email is in flight", lambda: worker.log)
        with postgresql.stopped_processes():
            started = time.monotonic()
            worker.terminate()
            seconds = time.monotonic() - started

    assert "stops without release_claims, because the database is too slow" in worker.log
    assert seconds < 0.5 + END_TIMEOUT_SECONDS + CLOSE_TIMEOUT_SECONDS + MARGIN_SECONDS


def test_a_long_statement_of_a_server_that_answers_is_not_interrupted(env: dict[str, str]) -> None:
    code = f"""
import django
django.setup()
from django.db import connection
from project.bridge.database import watchdog
with connection.cursor() as cursor:
    cursor.execute("SELECT pg_sleep({SILENCE_SECONDS + 1.5})")
    cursor.execute("SHOW statement_timeout")
    print(cursor.fetchone())
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env={**os.environ, **BASE_ENV, **env}, capture_output=True, text=True, check=True)

    assert result.stdout == "('30s',)\n"


def test_commands_say_that_the_database_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"postgres://mail:hush@127.0.0.1:{silent.getsockname()[1]}/mail"
        environment = {**os.environ, **BASE_ENV, "DATA_DIR": str(tmp_path), "DATABASE_URL": url}
        commands, python = ["serve -p 0", "serve --prepare -p 0", "prepare", "deliver"], [sys.executable, "manage.py"]
        processes = [
            subprocess.Popen([*python, *command.split()], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
            for command in commands
        ]
        results = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]

    assert {code for _, code in results} == {1}
    assert [("does not answer: no answer within 5 s" in error, "hush" in error) for error, _ in results] == [(True, False)] * 4


IDLE_TRANSACTION = """
import django, sys, time
django.setup()
from project.bridge.database.transactions import call_in_transaction
from project.emails.models import Email

def lock_and_report():
    list(Email.objects.select_for_update().order_by("id")[:1])
    print("locked", flush=True)
    sys.stdin.readline()

call_in_transaction(lock_and_report)
"""


def test_a_stopped_process_loses_its_transaction(env: dict[str, str], key: dict[str, str], postgresql: PostgreSQL) -> None:
    command, pipe = [sys.executable, "-c", IDLE_TRANSACTION], subprocess.PIPE
    environment = {**os.environ, **BASE_ENV, **env}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        holder.send_signal(signal.SIGSTOP)
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        wait_for(lambda: postgresql.query(idle) == "0", "the transaction is closed")
        holder.send_signal(signal.SIGCONT)
        _, error = holder.communicate("go on\n")

    assert "terminating connection due to idle-in-transaction timeout" in error


MIGRATION = """
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.models.signals import pre_migrate
from project.config.migration_timeouts import LOCK_TIMEOUT_SECONDS

def show(*, app_config, **_):
    if app_config.label == "events":  # after the app whose signal changes the timeouts
        print(*timeouts())

def timeouts():
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    with connection.cursor() as cursor:
        return [cursor.execute(f"SHOW {name}").fetchone()[0] for name in names] + [connection.settings_dict["STATEMENT_TIMEOUT"]]

pre_migrate.connect(show)
call_command("migrate", verbosity=0)
print(*timeouts())
"""


def test_a_migration_may_take_longer_than_a_statement_of_a_request(env: dict[str, str]) -> None:
    command = [sys.executable, "-c", MIGRATION]
    result = subprocess.run(command, cwd=ROOT, env={**os.environ, **BASE_ENV, **env}, capture_output=True, text=True, check=True)

    assert result.stdout.splitlines() == ["1min 0 0 0", "500ms 30s 1s 30.0"]


STOPPED_BACKEND = """
import os, signal
import django
django.setup()
from django.db import OperationalError, connection
from project.bridge.database import watchdog

watchdog.SILENCE_SECONDS = watchdog.STATEMENT_TIMEOUT_MARGIN_SECONDS = 0.2
with connection.cursor() as cursor:
    cursor.execute("SELECT pg_backend_pid()")
    [backend] = cursor.fetchone()
    os.kill(backend, signal.SIGSTOP)
    try:
        cursor.execute("SELECT 1")
    except OperationalError as error:
        print(error)
    finally:
        os.kill(backend, signal.SIGCONT)
"""
STOPPED_COMMIT = """
import os, signal
import django
django.setup()
from django.db import OperationalError, connection, transaction
from project.bridge.database import watchdog

watchdog.SILENCE_SECONDS = watchdog.STATEMENT_TIMEOUT_MARGIN_SECONDS = 0.2
try:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            [backend] = cursor.fetchone()
        os.kill(backend, signal.SIGSTOP)
except OperationalError as error:
    print(error)
finally:
    os.kill(backend, signal.SIGCONT)
"""


@pytest.mark.parametrize("code", [STOPPED_BACKEND, STOPPED_COMMIT], ids=["statement", "commit"])
def test_a_statement_or_commit_of_a_stopped_backend_ends_although_the_server_answers(env: dict[str, str], code: str) -> None:
    environment = {**os.environ, **BASE_ENV, **env, "DATABASE_STATEMENT_TIMEOUT": "0.5"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert "server closed the connection unexpectedly" in result.stdout
