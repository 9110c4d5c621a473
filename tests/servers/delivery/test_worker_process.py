"""The worker process that `manage.py serve` or `DELIVERY_WORKER=subprocess` starts beside the server."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.processes import Server, wait_for
from tests.servers.api.test_live_events import bearer, open_event_socket, receive_events, send
from tests.smtp import Sink, smtp_sink

TOKEN = "at least sixteen characters"
SENT = 'mailrail_events_total{type="email.sent"} 3.0'


@pytest.fixture
def relay() -> Iterator[Sink]:
    """Start an SMTP server that accepts no email until `release`."""
    with smtp_sink() as sink:
        sink.hold()
        yield sink


def worker_processes(server: Server) -> list[int]:
    """Return the process ids of the server's worker processes."""
    children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    ids = [int(number) for path in children for number in path.read_text().split()]
    return [number for number in ids if b"--subprocess" in Path(f"/proc/{number}/cmdline").read_bytes()]


def worker_process(server: Server) -> int:
    """Wait for the server's only worker process. Return its process id."""
    wait_for(lambda: len(worker_processes(server)) == 1, "the worker process runs", lambda: server.log)
    return worker_processes(server)[0]


def start_with_three_in_flight(start: StartServer, key: str, relay: Sink) -> tuple[Server, int]:
    """Start a server whose worker has three emails in flight. Return the server and the worker's process id."""
    server = start(EMAIL_URL=relay.url)
    worker = worker_process(server)
    send(server, key, 3)
    wait_for(lambda: relay.in_flight == 3, "the emails are in flight", lambda: server.log)
    return server, worker


def is_gone(process: int) -> bool:
    """Return whether a process has ended or is a zombie."""
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(") ")[2].startswith("Z")


@pytest.mark.parametrize(
    ("kind", "env", "count"),
    [("serve", {}, 1), ("serve", {"DELIVERY_WORKER": "in_process"}, 0), ("daphne", {}, 0), ("uvicorn", {}, 0)],
)
def test_only_serve_starts_a_worker_process_by_default(start: StartServer, kind: str, env: dict[str, str], count: int) -> None:
    server = start(kind, **env)

    assert (server.get("/api/health/ready").status_code, len(worker_processes(server))) == (200, count)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["serve", "daphne", "uvicorn"])
async def test_the_server_publishes_and_counts_the_events_of_the_process(start: StartServer, api_key: str, kind: str) -> None:
    server = start(kind, DELIVERY_WORKER="subprocess", METRICS_TOKEN=TOKEN)
    # Plain Daphne listens before startup is complete, and drops a WebSocket that is not accepted within 5 s.
    await asyncio.to_thread(server.get, "/api/")
    async with open_event_socket(server, api_key) as websocket:
        await asyncio.to_thread(send, server, api_key, 3)
        events = await receive_events(websocket, 9)
    metrics = await asyncio.to_thread(httpx.get, f"{server.url}/api/metrics", headers=bearer(TOKEN))

    assert [event["type"] for event in events].count("email.sent") == 3
    assert SENT in metrics.text
    assert (await asyncio.to_thread(server.get, "/api/health/ready")).json()["checks"]["delivery"] == "ok"


@pytest.mark.pitfall(3)
def test_sigterm_waits_for_emails_in_flight_and_ends_both_processes(start: StartServer, api_key: str, relay: Sink) -> None:
    server, worker = start_with_three_in_flight(start, api_key, relay)

    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not server.listens, "the server stops")
    relay.release()

    assert (server.wait(), is_gone(worker), len(relay.emails)) == (0, True, 3)
    assert "Traceback" not in server.log


@pytest.mark.pitfall(3)
def test_the_process_of_a_killed_server_sends_its_emails_once_and_exits(start: StartServer, api_key: str, relay: Sink) -> None:
    server, worker = start_with_three_in_flight(start, api_key, relay)

    server.kill()
    relay.release()
    wait_for(lambda: is_gone(worker), "the process exits", lambda: server.log)
    restarted = start(EMAIL_URL=relay.url)
    send(restarted, api_key)
    wait_for(lambda: len(relay.emails) == 4, "the next worker delivers", lambda: restarted.log)

    assert relay.duplicates == 0


@pytest.mark.pitfall(3)
def test_a_killed_process_is_restarted_and_its_emails_are_delivered(start: StartServer, api_key: str, relay: Sink) -> None:
    server, worker = start_with_three_in_flight(start, api_key, relay)

    os.kill(worker, signal.SIGKILL)
    server.wait_for_log("exited with code -9; restarting it in 1 s")
    relay.release()
    response = server.get("/api/")
    wait_for(lambda: len(set(relay.message_ids)) == 3, "all emails arrive", lambda: server.log)

    assert response.status_code == 200
    assert worker_process(server) != worker
