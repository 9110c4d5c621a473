"""The audit trail of a real server: rejections are written in the background, and at the latest before the server stops."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.databases import query
from tests.processes import wait_for

REQUEST_COUNT = 200


def rejections(data: Path) -> list[tuple[str, str]]:
    """Return `(reason, ip_address)` of each stored rejection."""
    rows = query(data, "SELECT reason, ip_address FROM audit_auditevent WHERE action = 'rejected'")
    return [(reason, str(address)) for reason, address in rows]  # PostgreSQL has a type for addresses


@pytest.mark.parametrize(("header", "reason"), [("Bearer nonsense", "bad token"), ("Basic nonsense", "bad scheme")])
def test_writes_a_rejection_while_the_server_runs(header: str, reason: str, start: StartServer, data: Path) -> None:
    server = start()

    server.get("/api/me", headers={"Authorization": header})

    wait_for(lambda: rejections(data) == [(reason, "127.0.0.1")], "the rejection is written", lambda: str(rejections(data)))


def test_writes_one_row_for_a_flood_before_the_server_stops(start: StartServer, data: Path) -> None:
    server = start()
    with server.client() as client:
        statuses = {client.get("/api/me", headers={"Authorization": f"Bearer mr_{n}"}).status_code for n in range(REQUEST_COUNT)}

    assert server.terminate() == 0

    assert statuses == {401}
    assert rejections(data) == [("bad key", "127.0.0.1")]
    assert "Traceback" not in server.log
