"""Event ids on PostgreSQL are in commit order, although PostgreSQL assigns ids before the commit."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import PASSWORD
from tests.postgresql import cluster, program
from tests.processes import BASE_ENV, ROOT, SERVERS, Server, running, wait_for
from tests.servers.api.test_live_events import EMAIL, bearer, list_event_ids, open_event_socket, receive_events

pytestmark = pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")

UNCOMMITTED_WRITER = """
import sys, django
from dataclasses import replace
django.setup()
from django.db import transaction
from django.utils import timezone
from project.api_keys.models import ApiKey
from project.emails.submit import prepare_email, submit_batch, plain_text_email
email = replace(plain_text_email(address="ada@example.com", text="First"), owner_id=f"key:{ApiKey.objects.get().pk}")
with transaction.atomic():
    print(submit_batch([prepare_email(email, now=timezone.now())])[0].id, flush=True)
    sys.stdin.readline()
"""
COUNT_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def create_tables_and_key(env: dict[str, str]) -> str:
    """Create the tables, and an API key that may send emails and read events."""
    create_key = ["create_api_key", "shop", "--scope", "emails:send", "--scope", "events:read"]
    for command in (["prepare"], create_key):
        result = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=env, check=True, capture_output=True, text=True
        )
    return result.stdout.strip()


@contextmanager
def uncommitted_email(env: dict[str, str]) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start a process that writes an event and commits it when its stdin closes. Yield the process and the email's id."""
    command, pipe = [sys.executable, "-c", UNCOMMITTED_WRITER], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True) as writer:
        assert writer.stdout is not None
        yield writer, writer.stdout.readline().strip()


def send(server: Server, key: str) -> str:
    """Send an email, and return its id."""
    response = server.post("/api/emails", json=EMAIL, headers=bearer(key))
    return str(response.raise_for_status().json()["id"])


@pytest.mark.anyio
@pytest.mark.pitfall(15)
async def test_a_writer_waits_for_an_earlier_transaction_to_commit(tmp_path: Path) -> None:
    with cluster() as postgresql:
        env = {**BASE_ENV, "PATH": "", "DATA_DIR": str(tmp_path), "DATABASE_URL": postgresql.url, "ADMIN_PASSWORD": PASSWORD}
        key = create_tables_and_key(env)
        with running(SERVERS["serve"], log=tmp_path / "log", env={**env, "DELIVERY_WORKER": "external"}) as server:
            async with open_event_socket(server, key) as websocket:
                with uncommitted_email(env) as (writer, first):
                    sending = asyncio.create_task(asyncio.to_thread(send, server, key))
                    await asyncio.to_thread(
                        wait_for, lambda: postgresql.query(COUNT_WAITING) == "1", "the second writer waits for the lock"
                    )
                    writer.communicate("commit")
                events = await receive_events(websocket, 2)
            assert [event["data"]["email_id"] for event in events] == [first, await sending]
            assert [event["id"] for event in events] == await asyncio.to_thread(list_event_ids, server, key)
