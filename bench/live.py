"""Live events beside a Channels consumer on the same server class: `python -m bench.live [--rounds 5]`.

Deliveries/s of a burst of events to 200 sockets, from the call that causes them to the last byte; echoes/s of `/api/ws` beside
bare FastAPI; the time from the call to the socket at 100 events/s, alone, and with one of 200 that does not read; the memory of
an idle socket. Ends with 1 if a target is missed.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import httpx
from websockets.asyncio.client import connect

from bench.comparison import Comparison, Round, print_figures, print_ratios
from bench.installation import Installation
from bench.limits import memory
from bench.mails import MAIL
from bench.processes import end_well, run
from bench.router import BRIDGE, ENV, LISTEN
from tests.processes import Server, running

SOCKETS, BURST, BURSTS = 200, 50, 10  # a consumer's channel holds 100 messages
IDLE = 1000
ECHOES = 3000
PACE, LASTS = 100, 5  # events/s, seconds
MOST_P50, MOST_P99 = 10, 50  # ms
MARK = b'"email_id"'
BESIDE_SLOW = ", one of 200 reads nothing"
FAN_OUT, RIVAL = "deliveries to 200 sockets [1/s]", "the same by Channels' group_send [1/s]"
ECHO, BARE = "echoes by /api/ws [1/s]", "the same by bare FastAPI [1/s]"


class Counting(asyncio.Protocol):
    """A socket that counts the events it gets, and costs next to nothing."""

    def __init__(self, path: str, key: str, heard: Callable[[], None]) -> None:
        self.count = 0
        self.opened = asyncio.Event()
        self._heard, self._rest = heard, b""
        nonce = base64.b64encode(os.urandom(16)).decode()
        self._hello = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {key}\r\n\r\n"
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the socket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._hello.encode())

    def data_received(self, data: bytes) -> None:
        """Count."""
        data = self._rest + data
        if not self.opened.is_set() and b"ready" in data:
            self.opened.set()
        if found := data.count(MARK):
            self.count += found
            self._heard()
        self._rest = data[-len(MARK) + 1 :] if not data.endswith(MARK) else b""


class Crowd:
    """Many sockets, and when they have all heard so many events."""

    def __init__(self) -> None:
        self.sockets: list[Counting] = []
        self.times: list[float] = []  # when anybody heard something
        self._wanted, self._done = 0, asyncio.Event()

    def heard(self) -> None:
        """Somebody did."""
        self.times.append(time.perf_counter())
        if sum(socket.count for socket in self.sockets) >= self._wanted:
            self._done.set()

    async def wait(self, events: int) -> None:
        """Until all have heard so many more, and then count from nothing."""
        self._wanted = events * len(self.sockets)
        if sum(socket.count for socket in self.sockets) < self._wanted:
            self._done.clear()
            async with asyncio.timeout(60):
                await self._done.wait()
        for socket in self.sockets:
            socket.count = 0


@asynccontextmanager
async def crowd(server: Server, count: int, *, path: str = "/api/ws/events", key: str = "") -> AsyncIterator[Crowd]:
    """So many sockets, all open."""
    many, loop = Crowd(), asyncio.get_running_loop()
    try:
        for _ in range(count):
            _, socket = await loop.create_connection(lambda: Counting(path, key, many.heard), "127.0.0.1", server.port)
            await socket.opened.wait()
            many.sockets.append(socket)
        yield many
    finally:
        for socket in many.sockets:
            socket.transport.abort()


async def fan_out(server: Server, cause: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]], many: Crowd) -> float:
    """Deliveries/s, over several bursts."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        began = time.perf_counter()
        for _ in range(BURSTS):
            answer, _ = await asyncio.gather(cause(client), many.wait(BURST))
            answer.raise_for_status()
        return SOCKETS * BURST * BURSTS / (time.perf_counter() - began)


async def echoes(server: Server) -> float:
    """Echoes/s of one client that waits for each."""
    async with connect(f"{server.ws_url}/api/ws", compression=None) as websocket:
        began = time.perf_counter()
        for _ in range(ECHOES):
            await websocket.send("Hi")
            await websocket.recv()
        return ECHOES / (time.perf_counter() - began)


async def delays(server: Server, key: str, *, slow: int = 0) -> list[float]:
    """Milliseconds from an event's own time, which is just before its commit, to one of 200 sockets, at so many events/s."""
    async with AsyncExitStack() as stack:
        sockets = (await stack.enter_async_context(crowd(server, SOCKETS - 1, key=key))).sockets
        for socket in sockets[:slow]:
            socket.transport.pause_reading()
        websocket = await stack.enter_async_context(
            connect(f"{server.ws_url}/api/ws/events", additional_headers=bearer(key), compression=None, max_queue=None)
        )
        await websocket.recv()
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, headers=bearer(key), timeout=60))
        sending = asyncio.create_task(_send_at_pace(client))
        found = []
        for _ in range(PACE * LASTS):
            event = json.loads(await websocket.recv())
            found.append((time.time() - datetime.fromisoformat(event["created_at"]).timestamp()) * 1000)
        await sending
        return found


async def _send_at_pace(client: httpx.AsyncClient) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(PACE * LASTS):
            await asyncio.sleep(max(0.0, began + number / PACE - time.monotonic()))
            tasks.create_task(client.post("/api/emails", json=dict(MAIL)))


async def idle_memory(server: Server, key: str) -> float:
    """kB of resident memory for each of a thousand idle sockets."""
    before = memory(server, "VmRSS")
    async with crowd(server, IDLE, key=key):
        await asyncio.sleep(5)  # credentials were asked about again
        return (memory(server, "VmRSS") - before) / IDLE / 1000


async def measured(ours: Server, rival: Server, bare: Server, key: str) -> Round:
    """One round of everything."""
    done: Round = {}
    async with crowd(ours, SOCKETS, key=key) as many:
        mails = {"emails": [dict(MAIL)] * BURST}
        done[FAN_OUT] = await fan_out(ours, lambda c: c.post("/api/emails/batch", json=mails, headers=bearer(key)), many)
    async with crowd(rival, SOCKETS) as many:
        done[RIVAL] = await fan_out(rival, lambda client: client.get(f"/?count={BURST}"), many)
    done[BARE], done[ECHO] = await echoes(bare), await echoes(ours)
    for what, slow in (("", 0), (BESIDE_SLOW, 1)):
        cuts = quantiles(await delays(ours, key, slow=slow), n=100)
        done[f"commit to socket, p50{what} [ms]"], done[f"commit to socket, p99{what} [ms]"] = cuts[49], cuts[98]
    return done


def bearer(key: str) -> dict[str, str]:
    """The header of a caller with a key."""
    return {"Authorization": f"Bearer {key}"}


COMPARISONS = [
    Comparison("fan-out / group_send", FAN_OUT, RIVAL, at_least=4),
    Comparison("echo / bare", ECHO, BARE, at_least=0.9),
    Comparison(
        "p99 with a slow one / without", "commit to socket, p99, one of 200 reads nothing [ms]", "commit to socket, p99 [ms]"
    ),
]


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    end_well()
    with TemporaryDirectory(prefix="mailrail-live-") as name, ExitStack() as stack:
        folder = Path(name)
        Installation(folder).prepare()
        env = {**ENV, "DATA_DIR": name, "DELIVERY_WORKER": "external", "DJANGO_SETTINGS_MODULE": "project.settings"}
        scopes = ["--scope", "emails:send", "--scope", "events:read"]
        key = run([sys.executable, "manage.py", "create_api_key", "bench", *scopes], env=env).strip()
        commands = {
            "ours": ["manage.py", "serve", *LISTEN],
            "rival": [*BRIDGE, "bench.live_rival:application"],
            "bare": [*BRIDGE, "--root-path", "/api", "bench.bare:application"],
        }
        ours, rival, bare = (
            stack.enter_context(running(command, log=folder / f"log.{server}", env=env)) for server, command in commands.items()
        )
        print(f"idle socket: {asyncio.run(idle_memory(ours, key)):.0f} kB each, of {IDLE}")
        done = [asyncio.run(measured(ours, rival, bare, key)) for _ in range(rounds)]
        print_figures(done)
        passed = print_ratios(done, COMPARISONS)
        p50, p99 = (median(each[f"commit to socket, {p} [ms]"] for each in done) for p in ("p50", "p99"))
        return 0 if passed and p50 < MOST_P50 and p99 < MOST_P99 else 1


if __name__ == "__main__":
    sys.exit(main())
