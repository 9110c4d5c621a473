"""The running version survives the migrations of the next one, so that an upgrade needs no downtime."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PASSWORD, prepare_installation
from tests.postgresql import cluster, program
from tests.processes import ROOT, SERVERS, Server, running, wait_for
from tests.upgrade.previous_version import extract_previous_version

NEEDS_POSTGRESQL = pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")
ON_SQLITE = pytest.mark.sqlite_only("the same test has a PostgreSQL of its own")
DATABASES = [pytest.param("sqlite", marks=ON_SQLITE), pytest.param("postgresql", marks=NEEDS_POSTGRESQL)]
INCOMPATIBLE = {"0002_required_column", "0003_dropped_column", "0004_renamed_column"}
INCOMPATIBLE_ON_POSTGRESQL = INCOMPATIBLE | {"0005_blocking_index"}


@pytest.fixture(scope="module", params=DATABASES)
def new_version(
    request: pytest.FixtureRequest, installation: Path, api_keys: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], str]]:
    """Install this version with a database. Return its environment variables and an API key."""
    if request.param == "sqlite":
        yield {"DATA_DIR": str(shutil.copytree(installation, tmp_path_factory.mktemp("new") / "data"))}, api_keys[0]
        return
    with cluster() as server:
        env = {"DATA_DIR": str(tmp_path_factory.mktemp("data")), "DATABASE_URL": server.url}
        yield env, prepare_installation(env)[0]


def test_the_linter_refuses_only_the_incompatible_migrations(new_version: tuple[dict[str, str], str]) -> None:
    database, _ = new_version
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "tests.upgrade.lint_settings", **database}
    linted = subprocess.run(
        [sys.executable, "manage.py", "lintmigrations"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )

    expected = INCOMPATIBLE_ON_POSTGRESQL if "DATABASE_URL" in database else INCOMPATIBLE
    assert "(emails, 0001_initial)... OK" in linted.stdout, linted.stderr
    assert refused(linted.stdout) == {("incompatible", name) for name in expected}, linted.stdout


def refused(output: str) -> set[tuple[str, str]]:
    """Return the apps and names of the migrations that the linter reports."""
    return set(re.findall(r"^\((\w+), (\w+)\)\.\.\. (?:ERR|WARNING)", output, re.MULTILINE))


def test_the_previous_version_works_on_the_new_schema(new_version: tuple[dict[str, str], str], tmp_path: Path) -> None:
    """Run both versions on one database, as a rolling upgrade does. Only the previous one delivers."""
    revision = extract_previous_version(tmp_path / "previous")
    database, key = new_version
    command = SERVERS["serve"]
    previous_env, new_env = {**database, "DELIVERY_WORKER": "in_process"}, {**database, "DELIVERY_WORKER": "external"}

    with (
        running(command, log=tmp_path / "previous.log", env=previous_env, cwd=tmp_path / "previous") as previous,
        running(command, log=tmp_path / "new.log", env=new_env) as new,
    ):
        ids = {submit(server, key) for server in (previous, new)}
        for server in (previous, new):
            wait_for(lambda server=server: statuses(server, key) == dict.fromkeys(ids, "sent"), "the emails are sent")  # type: ignore[misc]
            for email_id in ids:
                events = get(server, key, f"/api/emails/{email_id}/events")["data"]
                assert [event["type"] for event in events] == ["email.queued", "email.sending", "email.sent"], revision
        login = {"username": "admin", "password": PASSWORD}
        assert previous.post("/api/token", data=login).status_code == 200
        assert "Traceback" not in previous.log + new.log


def submit(server: Server, key: str) -> str:
    """Submit an email with a tag, and return its id."""
    email = {"from": "shop@example.com", "to": "ada@x.example", "subject": "Your order", "text": "Thanks", "tags": {"order": "1"}}
    accepted = server.post("/api/emails", json=email, headers={"Authorization": f"Bearer {key}", "Idempotency-Key": server.url})
    assert accepted.status_code == 202, accepted.text
    return str(accepted.json()["id"])


def statuses(server: Server, key: str) -> dict[str, str]:
    """Return the statuses of all emails with the tag, by id."""
    return {email["id"]: email["status"] for email in get(server, key, "/api/emails?tag=order:1")["data"]}


def get(server: Server, key: str, path: str) -> Any:
    """Return the JSON of a page."""
    response = server.get(path, headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 200, response.text
    return response.json()
