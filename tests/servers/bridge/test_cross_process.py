"""Several processes with a real Redis server. Notifications arrive at once, and no event is lost while Redis is down."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.conftest import StartServer
from tests.processes import SERVERS, WAIT_TIMEOUT_SECONDS, Server, running, wait_for
from tests.redis_server import PASSWORD, PROGRAM, RedisServer, redis_server
from tests.servers.api.test_live_events import list_event_ids, manage, open_event_socket, receive_events, send
from tests.smtp import smtp_sink

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(PROGRAM is None, reason="needs Redis (Debian: redis-server)")]

FAILURE, RECOVERY = "The channel layer is unavailable", "The channel layer has recovered"
StartProcess = Callable[..., Server]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Start a Redis server for one test, because tests kill it."""
    with redis_server() as server:
        yield server


@pytest.fixture
def start_process(data: Path, tmp_path: Path, redis: RedisServer) -> Iterator[StartProcess]:
    """Return a function that starts `serve` or `deliver` with Redis. With `notify_only`, the process polls only when notified."""
    with ExitStack() as processes:

        def start_one(command: str, *, notify_only: bool = False, name: str = "", **env: str) -> Server:
            arguments = SERVERS["serve"][1:] if command == "serve" else [command]
            line = ["-m", "tests.servers.bridge.notify_only", *arguments] if notify_only else ["manage.py", *arguments]
            log = tmp_path / f"log.{name or command}"
            full_env = {"DATA_DIR": str(data), "REDIS_URL": redis.url, "DELIVERY_WORKER": "external", **env}
            if command == "serve":
                return processes.enter_context(running(line, log=log, env=full_env))
            process = Server(line, log=log, env=full_env)
            processes.callback(process.kill)
            wait_for(lambda: any((data / "workers").glob("*")), "the worker runs", lambda: process.log)
            return process

        yield start_one


async def statuses(websocket: ClientConnection, count: int) -> list[str]:
    """Return the statuses of the next events."""
    return [event["data"]["status"] for event in await receive_events(websocket, count)]


async def wait_until_sent(websocket: ClientConnection) -> None:
    """Receive events until an email is sent."""
    async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
        while json.loads(await websocket.recv())["type"] != "email.sent":
            pass


def readiness(server: Server) -> dict[str, Any]:
    """Return the readiness checks."""
    checks: dict[str, Any] = server.get("/api/health/ready").json()["checks"]
    return checks


# Notifications


@pytest.mark.pitfall(7)
async def test_a_server_publishes_events_of_another_server(start_process: StartProcess, api_key: str) -> None:
    first = start_process("serve", name="first")
    second = start_process("serve", name="second", notify_only=True)
    async with open_event_socket(second, api_key) as websocket:
        await asyncio.to_thread(send, first, api_key)

        assert await statuses(websocket, 1) == ["queued"]


async def test_a_server_publishes_events_of_an_external_worker(start_process: StartProcess, api_key: str) -> None:
    server = start_process("serve", notify_only=True)
    with smtp_sink(delay=0.5) as sink:  # so that the query for an earlier event does not find the last event, too
        start_process("deliver", EMAIL_URL=sink.url)
        async with open_event_socket(server, api_key) as websocket:
            await asyncio.to_thread(send, server, api_key)

            assert await statuses(websocket, 3) == ["queued", "sending", "sent"]


async def test_an_external_worker_is_woken_by_a_server(start_process: StartProcess, api_key: str, data: Path) -> None:
    server = start_process("serve")
    start_process("deliver", notify_only=True)
    async with open_event_socket(server, api_key) as websocket:
        await asyncio.to_thread(send, server, api_key)
        await wait_until_sent(websocket)
        await asyncio.to_thread(manage, data, "check")  # takes far longer than the worker's last poll
        await asyncio.to_thread(send, server, api_key)

        await wait_until_sent(websocket)


# Outages


async def test_a_redis_outage_loses_no_event_and_is_logged_once(
    start_process: StartProcess, api_key: str, redis: RedisServer
) -> None:
    server, worker = start_process("serve"), start_process("deliver")
    async with open_event_socket(server, api_key) as websocket:
        await asyncio.to_thread(send, server, api_key, 20)
        redis.kill()
        for _ in range(3):
            await asyncio.to_thread(send, server, api_key, 20)
        events = await receive_events(websocket, 240)
        during_outage = await asyncio.to_thread(readiness, server)
        redis.start()
        for process in (server, worker):
            await asyncio.to_thread(process.wait_for_log, RECOVERY)
        await asyncio.to_thread(wait_for, lambda: readiness(server)["channel_layer"] == "ok", "the server is ready")
        await asyncio.to_thread(send, server, api_key, 20)
        events += await receive_events(websocket, 60)

    assert [event["id"] for event in events] == await asyncio.to_thread(list_event_ids, server, api_key)
    assert during_outage["channel_layer"] == "degraded"
    assert [log.count(FAILURE) for log in (server.log, worker.log)] == [1, 1]
    assert [log.count(RECOVERY) for log in (server.log, worker.log)] == [1, 1]
    assert not [word for word in (PASSWORD, "Traceback") if word in server.log + worker.log]


async def test_notifications_resume_with_redis(start_process: StartProcess, api_key: str, redis: RedisServer) -> None:
    server = start_process("serve", notify_only=True)
    start_process("deliver", notify_only=True)
    async with open_event_socket(server, api_key) as websocket:
        redis.kill()
        await asyncio.to_thread(send, server, api_key)
        await asyncio.to_thread(server.wait_for_log, FAILURE)
        redis.start()

        def delivers() -> bool:
            send(server, api_key)
            return bool(list_event_ids(server, api_key, "&types=email.sent"))

        await asyncio.to_thread(wait_for, delivers, "the worker is notified of an email")
        await wait_until_sent(websocket)


async def test_a_server_starts_without_redis_and_connects_later(start: StartServer, api_key: str, redis: RedisServer) -> None:
    redis.kill()
    server = start(REDIS_URL=redis.url)
    async with open_event_socket(server, api_key) as websocket:
        await asyncio.to_thread(send, server, api_key)
        assert await statuses(websocket, 3) == ["queued", "sending", "sent"]
    redis.start()

    await asyncio.to_thread(wait_for, lambda: readiness(server)["channel_layer"] == "ok", "the server is ready")
    await asyncio.to_thread(server.wait_for_log, RECOVERY)
    assert server.log.count(FAILURE) == 2  # once from the server, once from its worker process


async def test_readiness_checks_leave_no_keys_in_redis(start: StartServer, redis: RedisServer) -> None:
    server = start(REDIS_URL=redis.url)

    checks = [readiness(server)["channel_layer"] for _ in range(10)]

    assert checks == ["ok"] * 10
    assert len(redis.channels()) <= 6  # a channel and a topic for the event stream, the worker and changed credentials
    assert redis.keys() == []


@pytest.mark.parametrize("delivery_worker", ["external", "in_process", "subprocess"])
def test_a_server_terminated_as_soon_as_it_listens_exits(
    data: Path, tmp_path: Path, redis: RedisServer, delivery_worker: str
) -> None:
    """At that moment, the server connects to Redis, and redis-py may swallow the cancellation."""
    env = {"DATA_DIR": str(data), "REDIS_URL": redis.url, "DELIVERY_WORKER": delivery_worker}
    server = Server(SERVERS["serve"], log=tmp_path / "log", env=env)
    while not server.listens:  # without a pause, to catch the first moment
        assert server.process.poll() is None, server.log

    assert server.terminate() == 0
