"""Mailrail on PostgreSQL, including a database that becomes unavailable and comes back."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from project.bridge.database.read_transactions import LOOKUP_POOL_SIZE, READ_POOL_SIZE
from project.bridge.database.transactions import PING_AFTER_IDLE_SECONDS, POOL_SIZE, UNTRANSACTED_POOL_SIZE
from tests.conftest import PASSWORD
from tests.postgresql import PostgreSQL, cluster, program
from tests.processes import ROOT, SERVERS, WAIT_TIMEOUT_SECONDS, Server, running, wait_for
from tests.smtp import smtp_sink

pytestmark = pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")

LOGIN_MAX_FAILURES, GUESSES = 10, 18
POOLED_CONNECTIONS = POOL_SIZE + UNTRANSACTED_POOL_SIZE + READ_POOL_SIZE + LOOKUP_POOL_SIZE
NOTIFICATION_CONNECTIONS = 2  # for LISTEN and for NOTIFY
MAX_KEPT_CONNECTIONS = 2 * (POOLED_CONNECTIONS + NOTIFICATION_CONNECTIONS)  # of the server and of its worker process


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL cluster for the tests of this module."""
    with cluster() as server:
        yield server


@pytest.fixture(scope="module")
def prepared(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Prepare an installation on PostgreSQL, and return its environment variables. Servers run on copies of its database."""
    env = {"DATA_DIR": str(tmp_path_factory.mktemp("data")), "DATABASE_URL": postgresql.url, "ADMIN_PASSWORD": PASSWORD}
    environment = {"DJANGO_SETTINGS_MODULE": "project.settings", "PATH": "", **env}
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env=environment, check=True)
    return env


def copy_of(prepared: dict[str, str], postgresql: PostgreSQL, folder: Path) -> dict[str, str]:
    """Return the environment variables of a copy of the installation, with its own database and data directory."""
    name = f"copy_{uuid4().hex}"
    postgresql.query(f"CREATE DATABASE {name} TEMPLATE postgres")
    data = shutil.copytree(prepared["DATA_DIR"], folder / "data")
    return {**prepared, "DATA_DIR": str(data), "DATABASE_URL": f"{postgresql.url.rpartition('/')[0]}/{name}"}


@pytest.fixture
def installation(prepared: dict[str, str], postgresql: PostgreSQL, tmp_path: Path) -> dict[str, str]:
    """Return the environment variables of an installation that no other test uses."""
    return copy_of(prepared, postgresql, tmp_path)


@pytest.fixture
def own_server(installation: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    """Run Mailrail on PostgreSQL for one test that stops PostgreSQL and reads the log."""
    with running(SERVERS["serve"], log=tmp_path / "log", env=installation) as server:
        yield server


@pytest.fixture(scope="module")
def shared_server(prepared: dict[str, str], postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run Mailrail on PostgreSQL for the other tests of this module."""
    folder = tmp_path_factory.mktemp("serve")
    with running(SERVERS["serve"], log=folder / "log", env=copy_of(prepared, postgresql, folder)) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """Return the shared server when it is ready, because the test before may have stopped PostgreSQL."""
    wait_for(lambda: shared_server.get("/api/health/ready").status_code == 200, "the server is ready")
    return shared_server


@pytest.mark.usefixtures("prepared")
def test_indexes_that_were_built_concurrently_are_valid(postgresql: PostgreSQL) -> None:
    statement = (
        "SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid::regclass::text IN ('email_reason', 'email_owner_reason')"
    )

    assert postgresql.query(statement) == "2"


@pytest.mark.pitfall(9)
def test_survives_a_database_restart(own_server: Server, postgresql: PostgreSQL) -> None:
    for _ in range(POOL_SIZE):
        own_server.get("/api/health/ready")

    postgresql.stop()
    wait_for(lambda: own_server.get("/api/health/ready").status_code == 503, "readiness reports the outage")
    while_down = own_server.get("/api/health/ready").json()
    postgresql.start()
    wait_for(lambda: own_server.get("/api/health/ready").status_code == 200, "readiness reports the recovery")

    assert while_down["checks"]["database"] == "OperationalError"
    own_server.post("/api/send-email/", params={"email": "ada@example.com", "message": "still here"})
    own_server.wait_for_log("Email sent successfully")


@pytest.mark.pitfall(9)
def test_an_email_sent_while_the_database_was_down_is_not_sent_again(
    installation: dict[str, str], postgresql: PostgreSQL, tmp_path: Path
) -> None:
    with (
        smtp_sink() as sink,
        running(SERVERS["serve"], log=tmp_path / "log", env={**installation, "EMAIL_URL": sink.url}) as server,
    ):
        sink.hold()
        token = server.post("/api/token", data={"username": "admin", "password": PASSWORD}).json()["access_token"]
        email = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "Hi"}
        statuses = [
            server.post("/api/emails", json=email, headers={"Authorization": f"Bearer {token}"}).status_code for _ in range(3)
        ]
        wait_for(lambda: sink.in_flight == 3, "the relay has received the emails", lambda: server.log)

        postgresql.stop()
        sink.release()
        server.wait_for_log("waits for the database", times=3)
        postgresql.start()
        server.wait_for_log("Email sent successfully", times=3)

    assert (statuses, len(sink.emails)) == ([202] * 3, 3)


def test_an_outage_is_logged_once_and_closes_websockets_with_1013(
    own_server: Server, postgresql: PostgreSQL, installation: dict[str, str]
) -> None:
    token = own_server.post("/api/token", data={"username": "admin", "password": PASSWORD}).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}

    postgresql.stop()
    statuses = {own_server.get("/api/emails", headers=headers).status_code for _ in range(20)}
    websocket = connect(f"{own_server.ws_url}/api/ws/events", additional_headers=headers)
    with websocket, pytest.raises(ConnectionClosedError):
        websocket.recv(timeout=WAIT_TIMEOUT_SECONDS)
    postgresql.start()
    own_server.wait_for_log("The database is available again")

    assert (statuses, websocket.close_code) == ({503}, 1013)
    # One line of the server, and one of its delivery worker, whose other lines say that results wait.
    assert 1 <= own_server.log.count("the database failed") <= 2
    assert "Traceback" not in own_server.log


CLAIMS = """
import json, threading, django
django.setup()
from dataclasses import replace
from django.db import connection, transaction
from django.utils import timezone
from project.delivery.claim import claim_emails
from project.emails.mime.builder import Draft
from project.emails.submit import NewEmail, prepare_email, submit_batch

def submit(owner, count):
    draft = Draft("shop@example.com", to=("grace@example.com",), text="Hi")
    submit_batch([prepare_email(NewEmail(draft, owner_id=owner), now=timezone.now()) for _ in range(count)])

def claim(worker):
    with transaction.atomic():
        claimed[worker] = claim_emails(worker, limit=6, now=timezone.now())
        both_have_claimed.wait(60)
    connection.close()

submit("key:1", 30), submit("key:2", 2), submit("key:3", 1)
claimed, both_have_claimed = {}, threading.Barrier(2)
threads = [threading.Thread(target=claim, args=(name,)) for name in ("one", "two")]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(json.dumps([[(str(email.id), email.owner) for email in emails] for emails in claimed.values()]))
"""


@pytest.mark.pitfall(27)
def test_two_workers_claim_fairly_and_claim_no_email_twice(installation: dict[str, str]) -> None:
    """Each worker claims in a transaction that ends only after both have claimed."""
    environment = {"DJANGO_SETTINGS_MODULE": "project.settings", "PATH": "", **installation}
    command = [sys.executable, "-c", CLAIMS]

    output = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    claims = json.loads(output)
    ids = [email_id for emails in claims for email_id, _owner in emails]
    owners = Counter(owner for emails in claims for _id, owner in emails)
    assert len(ids) == len(set(ids)) == 12
    assert owners == {"key:1": 9, "key:2": 2, "key:3": 1}


READS_THAT_WRITE = """
import asyncio, django
django.setup()
from project.accounts.models import User
from project.bridge.database.read_transactions import run_in_read_transaction, run_lookup

async def main():
    update = lambda: User.objects.update(first_name="Ada")
    lock = lambda: list(User.objects.select_for_update())
    calls = [read(function) for read in (run_in_read_transaction, run_lookup) for function in (update, lock, User.objects.count)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    print(*(each if isinstance(each, int) else type(each).__name__ for each in results))

asyncio.run(main())
"""


def test_a_read_that_writes_or_locks_fails(installation: dict[str, str]) -> None:
    environment = {"DJANGO_SETTINGS_MODULE": "project.settings", "PATH": "", **installation}
    command = [sys.executable, "-c", READS_THAT_WRITE]
    output = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout

    assert output.split() == ["WriteInReadTransaction", "InternalError", "1"] * 2


# With the server that the tests share


@pytest.mark.pitfall(9)
def test_a_dead_idle_connection_is_not_used_for_a_transaction(server: Server, postgresql: PostgreSQL) -> None:
    for _ in range(2 * POOL_SIZE):
        server.post("/api/send-email/", params={"email": "ada@example.com", "message": "warm up"})
    server.wait_for_log("Email sent successfully", times=2 * POOL_SIZE)

    postgresql.stop()
    postgresql.start()
    # No query was sent while the database was down, so no connection is known to be dead. Idle connections are pinged before use.
    started = time.monotonic()
    wait_for(lambda: time.monotonic() > started + PING_AFTER_IDLE_SECONDS, "the pool was idle")
    responses = [
        server.post("/api/send-email/", params={"email": "ada@example.com", "message": "again"}) for _ in range(2 * POOL_SIZE)
    ]

    assert [response.status_code for response in responses] == [200] * (2 * POOL_SIZE)


def test_parallel_guesses_get_no_more_checks_than_the_limit(server: Server) -> None:
    def guess(_number: int) -> int:  # for a user of its own, because the other tests log in as the administrator
        form, statuses = {"username": "stranger", "password": "wrong"}, list[int]()

        def is_settled() -> bool:  # 503 means that the server is too busy to check the password
            statuses.append(server.post("/api/token", data=form).status_code)
            return statuses[-1] != 503

        wait_for(is_settled, "the guess is checked or rejected")
        return statuses[-1]

    with ThreadPoolExecutor(GUESSES) as clients:
        statuses = list(clients.map(guess, range(GUESSES)))

    # The check that reaches the limit already has the status 429.
    assert (statuses.count(401), statuses.count(429)) == (LOGIN_MAX_FAILURES - 1, GUESSES - LOGIN_MAX_FAILURES + 1)


@pytest.mark.pitfall("11b")
def test_many_requests_use_few_connections(server: Server, postgresql: PostgreSQL) -> None:
    session = _logged_in(server)

    def both_halves(_number: int) -> tuple[int, int]:
        admin = server.get("/admin/", cookies=session)
        api = server.get("/api/me", cookies=session)
        return admin.status_code, api.status_code

    with ThreadPoolExecutor(8) as clients:
        statuses = set(clients.map(both_halves, range(100)))

    assert statuses == {(200, 200)}
    wait_for(lambda: _no_request_keeps_a_connection(postgresql), "no request keeps a connection open")


@pytest.mark.pitfall("11b")
def test_admin_requests_leave_no_connections_open(server: Server, postgresql: PostgreSQL) -> None:
    page = "/admin/suppressions/suppression/import/"
    with server.client(cookies=_logged_in(server)) as browser:
        data = {"csrfmiddlewaretoken": _form_token(browser, page)}
        files = {"file": ("list.csv", b"eve@example.com\n")}
        statuses = {browser.post(page, data=data, files=files).status_code for _ in range(MAX_KEPT_CONNECTIONS + 1)}

    assert statuses == {302}
    wait_for(lambda: _no_request_keeps_a_connection(postgresql), "no request keeps a connection open")


def _no_request_keeps_a_connection(postgresql: PostgreSQL) -> bool:
    """Return whether only the thread pools and the notifications of the server and of its worker process keep connections."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    return int(postgresql.query(count)) <= MAX_KEPT_CONNECTIONS


def _logged_in(server: Server) -> dict[str, str]:
    with server.client() as browser:
        token = _form_token(browser, "/admin/login/")
        data = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": token}
        assert browser.post("/admin/login/", data=data).status_code == 302
        return {"sessionid": browser.cookies["sessionid"]}


def _form_token(browser: httpx.Client, page: str) -> str:
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', browser.get(page).text)
    assert token is not None
    return token[1]
