"""Events on PostgreSQL, which gives out ids before the commit: their order is still that of the commits."""

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
from tests.servers.test_live_events import MAIL, bearer, heard, listening, told

pytestmark = pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")

HOLDER = """
import sys, django
from dataclasses import replace
django.setup()
from django.db import transaction
from django.utils import timezone
from project.accounts.models import ApiKey
from project.emails.submit import accept_batch, message_order, prepare
order = replace(message_order(address="ada@example.com", text="First"), caller_id=f"key:{ApiKey.objects.get().pk}")
with transaction.atomic():
    print(accept_batch([prepare(order, now=timezone.now())])[0].id, flush=True)
    sys.stdin.readline()
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def prepared(env: dict[str, str]) -> str:
    """Make the tables, and a key that may send and read events."""
    create_key = ["create_api_key", "shop", "--scope", "emails:send", "--scope", "events:read"]
    for command in (["prepare"], create_key):
        done = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=env, check=True, capture_output=True, text=True
        )
    return done.stdout.strip()


@contextmanager
def holding(env: dict[str, str]) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process that has written an event, and commits it when it is told to. Gives the mail's id, too."""
    command, pipe = [sys.executable, "-c", HOLDER], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        yield holder, holder.stdout.readline().strip()


def send(server: Server, key: str) -> str:
    """Send one mail. Gives its id."""
    answer = server.post("/api/emails", json=MAIL, headers=bearer(key))
    return str(answer.raise_for_status().json()["id"])


@pytest.mark.anyio
@pytest.mark.pitfall(15)
async def test_who_writes_while_another_has_not_committed_comes_after_it(tmp_path: Path) -> None:
    with cluster() as postgresql:
        env = {**BASE_ENV, "PATH": "", "DATA_DIR": str(tmp_path), "DATABASE_URL": postgresql.url, "ADMIN_PASSWORD": PASSWORD}
        key = prepared(env)
        with running(SERVERS["serve"], log=tmp_path / "log", env={**env, "DELIVERY_WORKER": "external"}) as server:
            async with listening(server, key) as websocket:
                with holding(env) as (holder, first):
                    sending = asyncio.create_task(asyncio.to_thread(send, server, key))
                    await asyncio.to_thread(wait_for, lambda: postgresql.query(WAITING) == "1", "the second waits")
                    holder.communicate("commit")
                events = await heard(websocket, 2)
            assert [event["data"]["email_id"] for event in events] == [first, await sending]
            assert [event["id"] for event in events] == await asyncio.to_thread(told, server, key)
