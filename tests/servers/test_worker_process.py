"""The engine in a process beside the server's: `manage.py serve`, or `DELIVERY_WORKER="subprocess"`."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.processes import Server, wait_for
from tests.servers.test_live_events import bearer, create_key, heard, listening, send
from tests.smtp import Sink, smtp_sink

TOKEN = "sixteen characters, or more"
SENT = 'mailrail_events_total{type="email.sent"} 3.0'


@pytest.fixture
def relay() -> Iterator[Sink]:
    """One that takes what it is given when it is told to."""
    with smtp_sink() as sink:
        sink.hold()
        yield sink


def companions(server: Server) -> list[int]:
    """The ids of the processes beside the server's."""
    children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    ids = [int(number) for path in children for number in path.read_text().split()]
    return [number for number in ids if b"--companion" in Path(f"/proc/{number}/cmdline").read_bytes()]


def companion(server: Server) -> int:
    """The id of the only one, as soon as it is there."""
    wait_for(lambda: len(companions(server)) == 1, "it runs", lambda: server.log)
    return companions(server)[0]


def three_in_hand(start: StartServer, data: Path, relay: Sink) -> tuple[str, Server, int]:
    """A key, a server, and the id of the process beside it, which has three mails in the relay's hands."""
    key, server = create_key(data), start(EMAIL_URL=relay.url)
    beside = companion(server)
    send(server, key, 3)
    wait_for(lambda: relay.in_flight == 3, "the mails are in the relay's hands", lambda: server.log)
    return key, server, beside


def is_gone(process: int) -> bool:
    """Whether it has ended, or is as good as ended."""
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(") ")[2].startswith("Z")


@pytest.mark.parametrize(
    ("kind", "env", "count"),
    [("serve", {}, 1), ("serve", {"DELIVERY_WORKER": "in_process"}, 0), ("daphne", {}, 0), ("uvicorn", {}, 0)],
)
def test_serve_has_one_beside_it_unless_told_otherwise(start: StartServer, kind: str, env: dict[str, str], count: int) -> None:
    server = start(kind, **env)

    assert (server.get("/api/health/ready").status_code, len(companions(server))) == (200, count)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["serve", "daphne", "uvicorn"])
async def test_what_it_does_is_heard_counted_and_healthy_in_the_server(start: StartServer, data: Path, kind: str) -> None:
    key, server = create_key(data), start(kind, DELIVERY_WORKER="subprocess", METRICS_TOKEN=TOKEN)
    await asyncio.to_thread(server.get, "/api/")  # plain Daphne listens before it has begun, and waits 5 s for a socket's answer
    async with listening(server, key) as websocket:
        await asyncio.to_thread(send, server, key, 3)
        events = await heard(websocket, 9)
    metrics = await asyncio.to_thread(httpx.get, f"{server.url}/api/metrics", headers=bearer(TOKEN))

    assert [event["type"] for event in events].count("email.sent") == 3
    assert SENT in metrics.text
    assert (await asyncio.to_thread(server.get, "/api/health/ready")).json()["checks"]["engine"] == "ok"


@pytest.mark.pitfall(3)
def test_on_sigterm_what_is_in_hand_is_sent_before_both_end(start: StartServer, data: Path, relay: Sink) -> None:
    _, server, beside = three_in_hand(start, data, relay)

    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not server.listens, "the server stops")
    relay.release()

    assert (server.wait(), is_gone(beside), len(relay.mails)) == (0, True, 3)
    assert "Traceback" not in server.log


@pytest.mark.pitfall(3)
def test_when_the_server_is_killed_it_sends_what_is_in_hand_once_and_ends(start: StartServer, data: Path, relay: Sink) -> None:
    key, server, beside = three_in_hand(start, data, relay)

    server.kill()
    relay.release()
    wait_for(lambda: is_gone(beside), "it ends", lambda: server.log)
    again = start(EMAIL_URL=relay.url)
    send(again, key)
    wait_for(lambda: len(relay.mails) == 4, "the next one delivers", lambda: again.log)

    assert relay.doubles == 0


@pytest.mark.pitfall(3)
def test_when_it_is_killed_another_one_delivers_what_is_left(start: StartServer, data: Path, relay: Sink) -> None:
    _, server, beside = three_in_hand(start, data, relay)

    os.kill(beside, signal.SIGKILL)
    server.wait_for_log("ended with -9, and begins again in 1 s")
    relay.release()
    answer = server.get("/api/")
    wait_for(lambda: len(set(relay.message_ids)) == 3, "all of them came", lambda: server.log)

    assert answer.status_code == 200
    assert companion(server) != beside
