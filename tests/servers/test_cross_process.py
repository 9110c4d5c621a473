"""Several processes and a real Redis: they hear of each other at once, and lose nothing when it is gone."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.conftest import StartServer
from tests.processes import PATIENCE, SERVERS, Server, running, wait_for
from tests.redis_server import PASSWORD, PROGRAM, RedisServer, redis_server
from tests.servers.test_live_events import create_key, heard, listening, send, told
from tests.smtp import smtp_sink

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(PROGRAM is None, reason="needs Redis (Debian: redis-server)")]

FAILS, WORKS = "The channel layer fails", "The channel layer works again"
Start = Callable[..., Server]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One for each test: it is killed."""
    with redis_server() as server:
        yield server


@pytest.fixture
def begin(data: Path, tmp_path: Path, redis: RedisServer) -> Iterator[Start]:
    """Start a process beside Redis: `serve` or `deliver`, or one that looks only when it is given a hint."""
    with ExitStack() as processes:

        def begin_process(command: str, *, hinted: bool = False, name: str = "", **env: str) -> Server:
            arguments = SERVERS["serve"][1:] if command == "serve" else [command]
            line = ["-m", "tests.servers.notify_only", *arguments] if hinted else ["manage.py", *arguments]
            log = tmp_path / f"log.{name or command}"
            everything = {"DATA_DIR": str(data), "REDIS_URL": redis.url, "DELIVERY_WORKER": "external", **env}
            if command == "serve":
                return processes.enter_context(running(line, log=log, env=everything))
            process = Server(line, log=log, env=everything)
            processes.callback(process.kill)
            wait_for(lambda: any((data / "workers").glob("*")), "the engine runs", lambda: process.log)
            return process

        yield begin_process


async def statuses(websocket: ClientConnection, count: int) -> list[str]:
    """What the next events say."""
    return [event["data"]["status"] for event in await heard(websocket, count)]


async def until_sent(websocket: ClientConnection) -> None:
    """Hear events until one says that a mail is sent."""
    async with asyncio.timeout(PATIENCE):
        while json.loads(await websocket.recv())["type"] != "email.sent":
            pass


def ready(server: Server) -> dict[str, Any]:
    """What it says of its parts."""
    checks: dict[str, Any] = server.get("/api/health/ready").json()["checks"]
    return checks


# Hints


@pytest.mark.pitfall(7)
async def test_a_server_hears_of_what_another_accepts(begin: Start, data: Path) -> None:
    key, one, other = create_key(data), begin("serve", name="one"), begin("serve", name="other", hinted=True)
    async with listening(other, key) as websocket:
        await asyncio.to_thread(send, one, key)

        assert await statuses(websocket, 1) == ["queued"]


async def test_a_server_hears_of_what_an_engine_beside_it_sends(begin: Start, data: Path) -> None:
    key, server = create_key(data), begin("serve", hinted=True)
    with smtp_sink(delay=0.5) as sink:  # so that no look for what came before finds the end, too
        begin("deliver", EMAIL_URL=sink.url)
        async with listening(server, key) as websocket:
            await asyncio.to_thread(send, server, key)

            assert await statuses(websocket, 3) == ["queued", "sending", "sent"]


async def test_an_engine_beside_the_server_hears_of_what_is_accepted(begin: Start, data: Path) -> None:
    key, server = create_key(data), begin("serve")
    begin("deliver", hinted=True)
    async with listening(server, key) as websocket:
        await asyncio.to_thread(send, server, key)
        await until_sent(websocket)
        await asyncio.to_thread(create_key, data, "club")  # it takes far longer than the engine's last look for more
        await asyncio.to_thread(send, server, key)

        await until_sent(websocket)


# Outages


async def test_a_redis_that_dies_loses_nothing_and_is_told_of_once(begin: Start, data: Path, redis: RedisServer) -> None:
    key, server, engine = create_key(data), begin("serve"), begin("deliver")
    async with listening(server, key) as websocket:
        await asyncio.to_thread(send, server, key, 20)
        redis.kill()
        for _ in range(3):
            await asyncio.to_thread(send, server, key, 20)
        events = await heard(websocket, 240)
        without = await asyncio.to_thread(ready, server)
        redis.start()
        for process in (server, engine):
            await asyncio.to_thread(process.wait_for_log, WORKS)
        await asyncio.to_thread(wait_for, lambda: ready(server)["channel_layer"] == "ok", "the server is ready")
        await asyncio.to_thread(send, server, key, 20)
        events += await heard(websocket, 60)

    assert [event["id"] for event in events] == await asyncio.to_thread(told, server, key)
    assert without["channel_layer"] == "ConnectionError"
    assert [log.count(FAILS) for log in (server.log, engine.log)] == [1, 1]
    assert [log.count(WORKS) for log in (server.log, engine.log)] == [1, 1]
    assert not [word for word in (PASSWORD, "Traceback") if word in server.log + engine.log]


async def test_hints_come_again_when_redis_does(begin: Start, data: Path, redis: RedisServer) -> None:
    key, server = create_key(data), begin("serve", hinted=True)
    begin("deliver", hinted=True)
    async with listening(server, key) as websocket:
        redis.kill()
        await asyncio.to_thread(send, server, key)
        await asyncio.to_thread(server.wait_for_log, FAILS)
        redis.start()

        def delivers() -> bool:
            send(server, key)
            return bool(told(server, key, "&types=email.sent"))

        await asyncio.to_thread(wait_for, delivers, "the engine hears of a mail")
        await until_sent(websocket)


async def test_without_redis_at_its_start_a_server_works_and_finds_it_later(
    start: StartServer, data: Path, redis: RedisServer
) -> None:
    redis.kill()
    key, server = create_key(data), start(REDIS_URL=redis.url)
    async with listening(server, key) as websocket:
        await asyncio.to_thread(send, server, key)
        assert await statuses(websocket, 3) == ["queued", "sending", "sent"]
    redis.start()

    await asyncio.to_thread(wait_for, lambda: ready(server)["channel_layer"] == "ok", "the server is ready")
    await asyncio.to_thread(server.wait_for_log, WORKS)
    assert server.log.count(FAILS) == 2  # the server says so once, and so does the process beside it


async def test_readiness_leaves_nothing_in_redis(start: StartServer, redis: RedisServer) -> None:
    server = start(REDIS_URL=redis.url)

    checks = [ready(server)["channel_layer"] for _ in range(10)]

    assert checks == ["ok"] * 10
    assert len(redis.channels()) <= 4  # the two that its tail and its engine hear, and their topics
    assert redis.keys() == []


@pytest.mark.parametrize("deliver", ["external", "in_process", "subprocess"])
def test_who_is_ended_as_soon_as_it_listens_ends(data: Path, tmp_path: Path, redis: RedisServer, deliver: str) -> None:
    """Its connections to Redis are being made then, which is when redis-py swallows a cancellation."""
    env = {"DATA_DIR": str(data), "REDIS_URL": redis.url, "DELIVERY_WORKER": deliver}
    server = Server(SERVERS["serve"], log=tmp_path / "log", env=env)
    while not server.listens:  # without a pause: the first moment is what matters
        assert server.process.poll() is None, server.log

    assert server.terminate() == 0
