"""A real server's audit trail: refusals get there beside the answers, and none is lost at the end."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.processes import wait_for

FLOOD = 200


def rejections(data: Path) -> list[tuple[str, str]]:
    """Why, and from where."""
    with closing(sqlite3.connect(data / "mailrail.sqlite3")) as database:
        return database.execute("SELECT reason, ip_address FROM audit_auditevent WHERE action = 'rejected'").fetchall()


@pytest.mark.parametrize(("header", "reason"), [("Bearer nonsense", "bad token"), ("Basic nonsense", "bad scheme")])
def test_a_refusal_is_written_down_while_the_server_runs(header: str, reason: str, start: StartServer, data: Path) -> None:
    server = start()

    server.get("/api/me", headers={"Authorization": header})

    wait_for(lambda: rejections(data) == [(reason, "127.0.0.1")], "the trail has it", lambda: str(rejections(data)))


def test_a_flood_is_one_row_and_is_written_down_at_the_end(start: StartServer, data: Path) -> None:
    server = start()
    with server.client() as flood:
        statuses = {flood.get("/api/me", headers={"Authorization": f"Bearer mr_{n}"}).status_code for n in range(FLOOD)}

    assert server.terminate() == 0

    assert statuses == {401}
    assert rejections(data) == [("bad key", "127.0.0.1")]
    assert "Traceback" not in server.log
