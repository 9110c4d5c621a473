"""`manage.py serve --processes 2`: events reach the sockets of all processes, and processes are replaced without a lost request.

The processes do not poll, so the tests fail without the notifications of the other processes.
"""

import asyncio
import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.conftest import PASSWORD
from tests.databases import copy_installation
from tests.processes import SERVERS, WAIT_TIMEOUT_SECONDS, Server, running, wait_for
from tests.server_processes import child_processes, serving_process, web_processes
from tests.servers.api.test_live_events import (
    EMAIL,
    bearer,
    create_key,
    list_event_ids,
    receive_events,
    send,
    wait_for_close,
)

pytestmark = pytest.mark.anyio

NOTIFY_ONLY = {"DJANGO_SETTINGS_MODULE": "tests.servers.notify_only_settings"}
MAX_STREAMS = MAX_CONNECTIONS = 20  # of one caller, also to find one connection to each process
MAX_ANONYMOUS_REQUESTS = 30
LIMITS = {"MAX_STREAMS_PER_CALLER": str(MAX_STREAMS), "RATE_LIMIT_ANONYMOUS": f"{MAX_ANONYMOUS_REQUESTS}/hour"}
UNAUTHENTICATED = 4401  # close code


class Pool:
    """A server of two processes, and an API key."""

    def __init__(self, server: Server, key: str) -> None:
        self.server, self.key = server, key

    @asynccontextmanager
    async def socket_on_each_process(self, headers: Mapping[str, str] | None = None) -> AsyncIterator[list[ClientConnection]]:
        """Open WebSockets until each process has one. Yield one for each process. By default, they use the API key."""
        headers, url = bearer(self.key) if headers is None else headers, f"{self.server.ws_url}/api/ws/events"
        async with AsyncExitStack() as stack:
            found: dict[int, ClientConnection] = {}
            for _ in range(MAX_CONNECTIONS):
                websocket = await stack.enter_async_context(connect(url, additional_headers=headers, max_queue=None))
                assert json.loads(await websocket.recv())["type"] == "ready"
                process = serving_process(self.server, websocket.transport.get_extra_info("socket"))
                found.setdefault(process, websocket)
                if len(found) == 2:
                    break
            assert len(found) == 2
            yield list(found.values())


@pytest.fixture(scope="module")
def pool(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Run two server processes and a worker for all tests of this module."""
    folder = tmp_path_factory.mktemp("processes")
    data = copy_installation(installation, folder / "data")
    with running(SERVERS["processes"], log=folder / "log", env={"DATA_DIR": str(data), **NOTIFY_ONLY, **LIMITS}) as server:
        server.wait_for_log("All processes have started")
        yield Pool(server, create_key(data))
        assert "Traceback" not in server.log


@contextmanager
def constant_load(pool: Pool, *, keep_alive: bool) -> Iterator[list[httpx.Response | Exception]]:
    """Send emails one after the other from two threads while the block runs. Yield their responses or errors."""
    results: list[httpx.Response | Exception] = []
    stopping = threading.Event()

    def send_until_stopped() -> None:
        with pool.server.client(headers=bearer(pool.key)) as client:
            while not stopping.is_set():
                try:
                    options = client if keep_alive else httpx
                    url = f"{pool.server.url}/api/emails"
                    results.append(options.post(url, json=EMAIL, headers=bearer(pool.key), timeout=WAIT_TIMEOUT_SECONDS))
                except httpx.HTTPError as error:
                    results.append(error)

    threads = [threading.Thread(target=send_until_stopped) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        stopping.set()
        for thread in threads:
            thread.join(WAIT_TIMEOUT_SECONDS)


async def test_every_event_reaches_the_sockets_of_all_processes_once(pool: Pool) -> None:
    async with pool.socket_on_each_process() as sockets:
        await asyncio.to_thread(send, pool.server, pool.key, 10)
        received = [[event["id"] for event in await receive_events(websocket, 30)] for websocket in sockets]

    stored = await asyncio.to_thread(list_event_ids, pool.server, pool.key)
    assert received == [stored[-30:], stored[-30:]]


def test_there_is_one_delivery_worker(pool: Pool) -> None:
    assert len(child_processes(pool.server.process.pid, "--subprocess")) == 1


async def test_a_logout_in_one_process_closes_the_sockets_of_all_processes(pool: Pool) -> None:
    with pool.server.client() as browser:
        await asyncio.to_thread(log_in, browser)
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        async with pool.socket_on_each_process({"Cookie": cookies, "Origin": pool.server.url}) as sockets:
            await asyncio.to_thread(post_form, browser, "/admin/logout/", {})
            closes = [await wait_for_close(websocket) for websocket in sockets]

    assert [close.code for close in closes if close is not None] == [UNAUTHENTICATED, UNAUTHENTICATED]


def log_in(browser: httpx.Client) -> None:
    """Log in to the admin."""
    browser.get("/admin/login/").raise_for_status()
    assert post_form(browser, "/admin/login/", {"username": "admin", "password": PASSWORD}).status_code == 302


def post_form(browser: httpx.Client, path: str, fields: dict[str, str]) -> httpx.Response:
    """Submit a form of the admin."""
    token = browser.cookies["csrftoken"]
    return browser.post(path, data={**fields, "csrfmiddlewaretoken": token}, headers={"Origin": str(browser.base_url)})


def test_the_processes_share_a_rate_limit(pool: Pool) -> None:
    codes = [pool.server.get("/api/emails").status_code for _ in range(MAX_ANONYMOUS_REQUESTS + 10)]

    assert codes == [401] * MAX_ANONYMOUS_REQUESTS + [429] * 10


def test_the_processes_share_the_slots_of_a_caller_and_a_killed_process_frees_its_slots(pool: Pool) -> None:
    before = web_processes(pool.server)
    with ExitStack() as stack:
        responses = [open_stream(pool, stack) for _ in range(MAX_STREAMS + 10)]
        connections = [response.extensions["network_stream"].get_extra_info("socket") for response in responses[:MAX_STREAMS]]
        by_process = Counter(serving_process(pool.server, connection) for connection in connections)
        os.kill(min(web_processes(pool.server)), signal.SIGKILL)
        wait_for(lambda: open_stream(pool, stack).status_code == 200, "a slot is free", lambda: pool.server.log)

    assert [response.status_code for response in responses] == [200] * MAX_STREAMS + [429] * 10
    assert min(by_process[process] for process in before) >= MAX_STREAMS / 5
    wait_for(lambda: len(web_processes(pool.server)) == 2, "the process was replaced")


def open_stream(pool: Pool, stack: ExitStack) -> httpx.Response:
    """Open an event stream on a connection of its own, until the end of the stack."""
    client = stack.enter_context(pool.server.client(headers=bearer(pool.key)))
    return stack.enter_context(client.stream("GET", "/api/events/stream"))


async def test_a_killed_process_is_replaced_while_the_other_one_serves(pool: Pool) -> None:
    before = web_processes(pool.server)
    victim = min(before)

    os.kill(victim, signal.SIGKILL)
    responses = [await asyncio.to_thread(pool.server.get, "/api/health/live") for _ in range(20)]

    assert [response.status_code for response in responses] == [200] * 20
    await asyncio.to_thread(wait_for, lambda: len(web_processes(pool.server)) == 2, "the process was replaced")
    assert before - {victim} < web_processes(pool.server)


def test_the_other_process_serves_while_one_stands_still(pool: Pool) -> None:
    stopped = min(web_processes(pool.server))

    os.kill(stopped, signal.SIGSTOP)
    try:
        responses = [pool.server.get("/api/health/live") for _ in range(20)]
    finally:
        os.kill(stopped, signal.SIGCONT)

    assert [response.status_code for response in responses] == [200] * 20


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "new connections"])
def test_sighup_replaces_all_processes_without_a_lost_request(pool: Pool, keep_alive: bool) -> None:
    before, reloads = web_processes(pool.server), pool.server.log.count("Reloaded")

    with constant_load(pool, keep_alive=keep_alive) as results:
        pool.server.process.send_signal(signal.SIGHUP)
        pool.server.wait_for_log("Reloaded", times=reloads + 1)
        wait_for(lambda: not web_processes(pool.server) & before, "the old processes have ended", lambda: pool.server.log)

    assert len(web_processes(pool.server)) == 2
    assert len(results) > 10
    assert [each for each in results if not (isinstance(each, httpx.Response) and each.status_code == 202)] == []


async def test_sigterm_closes_the_sockets_and_answers_the_connections_of_all_processes(pool: Pool) -> None:
    """The last test of this module, because it stops the server. While processes are stopped, connections wait in its socket."""
    processes = web_processes(pool.server)
    async with pool.socket_on_each_process() as sockets:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", pool.server.port))) for _ in range(20)]
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            pool.server.process.send_signal(signal.SIGTERM)
            for process in processes:
                os.kill(process, signal.SIGCONT)
            closes = [await wait_for_close(websocket) for websocket in sockets]
            answers = [client.recv(9) for client in clients]

    assert [close.code for close in closes if close is not None] == [1012, 1012]
    assert answers == [b"HTTP/1.1 "] * 20  # instead of a reset
    assert pool.server.wait() == 0
