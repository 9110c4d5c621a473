"""Live events compared with a Channels consumer on the same server class: `python -m bench.live [--rounds 5]`.

Deliveries/s of a burst of events to 200 WebSockets, from the request that causes them to the last byte; echoes/s of `/api/ws`
compared with bare FastAPI; the delay from commit to socket at 100 events/s, without and with one of 200 clients that does not
read; the memory of an idle socket. Exits with 1 if a target is missed.

Channels drops messages when its channels are full, which happens on a slow machine. Lost messages are counted, and do not count
as deliveries. If Mailrail loses a message, the program fails.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import httpx
from websockets.asyncio.client import connect

from bench.comparison import Comparison, Round, print_figures, print_ratios
from bench.event_clients import TIMEOUT_SECONDS, ClientGroup, open_clients
from bench.installation import Installation
from bench.limits import memory
from bench.processes import run, terminate_cleanly
from bench.router import BRIDGE, ENV, LISTEN
from bench.sample_email import EMAIL
from tests.processes import Server, running

SOCKETS, BURST, BURSTS = 200, 50, 10  # a consumer's channel holds 100 messages
IDLE = 1000
ECHOES = 3000
RATE, DURATION = 100, 5  # events/s, seconds
MAX_P50, MAX_P99 = 10, 50  # ms
WITH_SLOW_CLIENT = ", one of 200 does not read"
LOST_BY_CHANNELS = "deliveries lost by Channels [%]"
FAN_OUT, CHANNELS = "deliveries to 200 sockets [1/s]", "deliveries by Channels' group_send [1/s]"
ECHO, BARE = "echoes by /api/ws [1/s]", "echoes by bare FastAPI [1/s]"


async def fan_out(
    server: Server, cause: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]], many: ClientGroup
) -> tuple[float, float]:
    """Return deliveries/s over several bursts, and the share of the deliveries that were lost."""
    received, seconds = 0, 0.0
    async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT_SECONDS) as client:
        for _ in range(BURSTS):
            began = time.perf_counter()
            (await cause(client)).raise_for_status()
            received += await many.wait(BURST)
            seconds += max(many.last_receipt, began) - began
    assert received, "No delivery has arrived."
    return received / seconds, 1 - received / (SOCKETS * BURST * BURSTS)


async def echoes(server: Server) -> float:
    """Return echoes/s of one client that waits for each echo."""
    async with asyncio.timeout(TIMEOUT_SECONDS), connect(f"{server.ws_url}/api/ws", compression=None) as websocket:
        began = time.perf_counter()
        for _ in range(ECHOES):
            await websocket.send("Hi")
            await websocket.recv()
        return ECHOES / (time.perf_counter() - began)


async def delays(server: Server, key: str, *, slow: int = 0) -> list[float]:
    """Return the milliseconds from each event's timestamp (just before its commit) to its arrival at one of 200 sockets."""
    async with asyncio.timeout(TIMEOUT_SECONDS), AsyncExitStack() as stack:
        sockets = (await stack.enter_async_context(open_clients(server, SOCKETS - 1, key=key))).sockets
        for socket in sockets[:slow]:
            socket.transport.pause_reading()
        websocket = await stack.enter_async_context(
            connect(f"{server.ws_url}/api/ws/events", additional_headers=bearer(key), compression=None, max_queue=None)
        )
        await websocket.recv()
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, headers=bearer(key), timeout=60))
        sending = asyncio.create_task(_send_at_rate(client))
        found = []
        for _ in range(RATE * DURATION):
            event = json.loads(await websocket.recv())
            found.append((time.time() - datetime.fromisoformat(event["created_at"]).timestamp()) * 1000)
        await sending
        return found


async def _send_at_rate(client: httpx.AsyncClient) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(RATE * DURATION):
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            tasks.create_task(client.post("/api/emails", json=dict(EMAIL)))


async def idle_memory(server: Server, key: str) -> float:
    """Return the kB of resident memory per idle socket, with a thousand idle sockets."""
    before = memory(server, "VmRSS")
    async with open_clients(server, IDLE, key=key):
        await asyncio.sleep(5)  # long enough to include a re-authorization
        return (memory(server, "VmRSS") - before) / IDLE / 1000


async def measure_round(ours: Server, consumer: Server, bare: Server, key: str) -> Round:
    """Measure one round."""
    done: Round = {}
    async with open_clients(ours, SOCKETS, key=key) as many:
        emails = {"emails": [dict(EMAIL)] * BURST}
        done[FAN_OUT], lost = await fan_out(ours, lambda c: c.post("/api/emails/batch", json=emails, headers=bearer(key)), many)
        assert lost == 0, f"Mailrail lost {lost:.1%} of the deliveries"
    async with open_clients(consumer, SOCKETS) as many:
        done[CHANNELS], lost = await fan_out(consumer, lambda client: client.get(f"/?count={BURST}"), many)
        done[LOST_BY_CHANNELS] = 100 * lost
    done[BARE], done[ECHO] = await echoes(bare), await echoes(ours)
    for suffix, slow in (("", 0), (WITH_SLOW_CLIENT, 1)):
        cuts = quantiles(await delays(ours, key, slow=slow), n=100)
        done[f"commit to socket, p50{suffix} [ms]"], done[f"commit to socket, p99{suffix} [ms]"] = cuts[49], cuts[98]
    return done


def bearer(key: str) -> dict[str, str]:
    """Return the header for an API key."""
    return {"Authorization": f"Bearer {key}"}


COMPARISONS = [
    Comparison("fan-out / group_send", FAN_OUT, CHANNELS, at_least=4),
    Comparison("echo / bare", ECHO, BARE, at_least=0.9),
    Comparison(
        "p99 with a slow client / without", "commit to socket, p99, one of 200 does not read [ms]", "commit to socket, p99 [ms]"
    ),
]


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    terminate_cleanly()
    with TemporaryDirectory(prefix="mailrail-live-") as name, ExitStack() as stack:
        folder = Path(name)
        Installation(folder).prepare()
        env = {**ENV, "DATA_DIR": name, "DELIVERY_WORKER": "external", "DJANGO_SETTINGS_MODULE": "project.settings"}
        env["MAX_STREAMS_PER_CALLER"] = "0"  # a slow server still counts the idle sockets when the next ones are opened
        scopes = ["--scope", "emails:send", "--scope", "events:read"]
        key = run([sys.executable, "manage.py", "create_api_key", "bench", *scopes], env=env).strip()
        commands = {
            "ours": ["manage.py", "serve", *LISTEN],
            "consumer": [*BRIDGE, "bench.channels_consumer:application"],
            "bare": [*BRIDGE, "--root-path", "/api", "bench.bare_fastapi:application"],
        }
        ours, consumer, bare = (
            stack.enter_context(running(command, log=folder / f"log.{server}", env=env)) for server, command in commands.items()
        )
        print(f"idle socket: {asyncio.run(idle_memory(ours, key)):.0f} kB each, of {IDLE}")
        done = [asyncio.run(measure_round(ours, consumer, bare, key)) for _ in range(rounds)]
        print_figures(done)
        passed = print_ratios(done, COMPARISONS)
        p50, p99 = (median(each[f"commit to socket, {p} [ms]"] for each in done) for p in ("p50", "p99"))
        return 0 if passed and p50 < MAX_P50 and p99 < MAX_P99 else 1


if __name__ == "__main__":
    sys.exit(main())
