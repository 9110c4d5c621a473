"""Backup and restore with the commands of docs/operating.md, while a real server accepts and sends emails."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PASSWORD, StartServer, prepare_installation
from tests.crash.conftest import StartLoad
from tests.crash.load_generator import LoadGenerator, arrived, count_to
from tests.postgresql import cluster, program
from tests.processes import BASE_ENV, ROOT, wait_for
from tests.servers.api.test_live_events import bearer
from tests.smtp import ACCEPT, Sink, accept_all

PAGE = (ROOT / "docs" / "operating.md").read_text()
BACKED_UP, ACCEPTED, SENT = 20, 40, 10  # emails accepted before the backup, accepted in all, sent before the data are lost
LOG = {"LOG_FORMAT": "json", "RETRY_DELAYS": "1h"}

requires_postgresql = pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")


@dataclass(frozen=True)
class Place:
    """An installation and an empty place for its backup, as environment variables, and how the page names the database."""

    database: str
    env: dict[str, str]
    restored_env: dict[str, str]
    backup: Path
    key: str


@pytest.fixture(params=["SQLite", pytest.param("PostgreSQL", marks=requires_postgresql)])
def place(request: pytest.FixtureRequest, tmp_path: Path, data: Path, api_keys: list[str]) -> Iterator[Place]:
    """Return an installation on SQLite or PostgreSQL."""
    (backup := tmp_path / "backup").mkdir()
    env, restored, key = {"DATA_DIR": str(data)}, {"DATA_DIR": str(tmp_path / "restored")}, api_keys[0]
    with ExitStack() as servers:
        if request.param == "PostgreSQL":
            postgresql = servers.enter_context(cluster())
            postgresql.query("CREATE DATABASE restored")
            env |= {"DATABASE_URL": postgresql.url}
            restored |= {"DATABASE_URL": f"{postgresql.url.removesuffix('postgres')}restored"}
            [key] = prepare_installation(env)
        yield Place(request.param, env, restored, backup, key)


def test_a_restored_backup_has_every_email_accepted_before_it_and_sends_none_twice(
    place: Place, start: StartServer, load: StartLoad, sink: Sink, tmp_path: Path
) -> None:
    sink.hold()
    sink.at_data = lambda _address, _attempt: ACCEPT if len(sink.emails) < SENT else "451 4.3.0 Not now"
    server = start(**place.env, **LOG, EMAIL_URL=f"{sink.url}?connections=1")
    generator = load(ACCEPTED, place.key)
    generator.use(server)
    before = _back_up_while_accepting(place, generator)
    sink.release()
    server.wait_for_log("Email sent successfully", times=SENT)
    server.terminate()

    _run(f'{"cp" if place.database == "SQLite" else "pg_restore"} .*"\\$BACKUP/mailrail', place.restored_env, place.backup)
    _manage(place.restored_env, "prepare")
    marked = _manage(place.restored_env, "mark_sent", str(tmp_path / "log.serve"))
    sink.at_data = accept_all
    restored = start(**place.restored_env, EMAIL_URL=sink.url)
    with restored.client(headers=bearer(place.key)) as client:
        wait_for(lambda: {each["status"] for each in _emails(client)} == {"sent"}, "all emails are sent", lambda: restored.log)
        emails = {email["id"] for email in _emails(client)}

    assert f"{SENT} emails marked as sent" in marked
    assert before <= emails
    assert emails <= arrived(sink)
    assert sink.duplicates == 0


def _back_up_while_accepting(place: Place, generator: LoadGenerator) -> set[str]:
    """Make a backup, and return the ids of the emails that were accepted before it began."""
    count_to(BACKED_UP, generator.count, "emails are accepted")
    before = set(generator.accepted)
    _run("VACUUM INTO" if place.database == "SQLite" else "pg_dump", place.env, place.backup)
    count_to(ACCEPTED, generator.count, "emails are accepted")
    generator.stop()
    return before


def _run(pattern: str, env: dict[str, str], backup: Path) -> None:
    """Run the page's shell commands of which one matches `pattern`."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if re.search(pattern, block)]
    subprocess.run(["bash", "-e", "-c", block], env={**os.environ, **env, "BACKUP": str(backup)}, check=True)


def _manage(env: dict[str, str], *command: str) -> str:
    line = [sys.executable, "manage.py", *command]
    environ = {**os.environ, **BASE_ENV, "ADMIN_PASSWORD": PASSWORD, **env}
    return subprocess.run(line, cwd=ROOT, env=environ, check=True, stdout=subprocess.PIPE, text=True).stdout


def _emails(client: Any) -> list[dict[str, Any]]:
    emails: list[dict[str, Any]] = client.get("/api/emails?limit=100").raise_for_status().json()["data"]
    return emails
