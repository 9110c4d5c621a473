"""What clients that push, or do not read, cost a server in memory: `python -m bench.limits [--clients 10] [--megabytes 200]`.

A fresh process for each figure: how far its resident memory rose above what it had after a first small request, at its
peak. Beside the bridge's server class, stock Daphne and Uvicorn. Ends with 1 if the bridge's rose by more than 20 MB.
"""

import argparse
import http.client
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.types import Receive, Scope, Send

from bench.processes import end_well
from tests.processes import Server, running

MEGABYTE = 1_000_000
PIECE = bytes(64 * 1024)
MOST = 20  # MB that the bridge's may rise by
SERVERS = {
    "the bridge's": ["-m", "bench.serve", "-v", "0", "-p", "{port}", "bench.limits:application"],
    "stock Daphne": ["-m", "daphne", "-v", "0", "-p", "{port}", "bench.limits:application"],
    "Uvicorn": ["-m", "uvicorn", "--log-level", "error", "--lifespan", "off", "--port", "{port}", "bench.limits:application"],
}
Push = Callable[[Server, int], None]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads what is posted and keeps nothing; streams as many bytes as the query says. For all of them alike."""
    if scope["type"] == "lifespan":
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(scope["query_string"] or 0) // len(PIECE)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def announced(server: Server, size: int) -> None:
    """Push a body whose length is announced."""
    _post(server, size, {"Content-Length": str(size)})


def in_chunks(server: Server, size: int) -> None:
    """Push one whose length is not."""
    _post(server, size, {})


def _post(server: Server, size: int, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    with suppress(ConnectionError):  # it may be refused, at any moment
        connection.request("POST", "/", _pieces(size), headers, encode_chunked=not headers)
        connection.getresponse().read()
    connection.close()


def _pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(PIECE)):
        yield PIECE[: size - start]


def all_push(push: Push) -> Callable[[Server, int, int], None]:
    """Clients that push at the same time, until each is answered."""

    def run(server: Server, clients: int, size: int) -> None:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(lambda _: push(server, size), range(clients)))

    return run


def none_reads(server: Server, clients: int, size: int) -> None:
    """Clients that ask for a stream and read nothing of it, until the memory has not risen for three seconds."""
    with ExitStack() as connections:
        for _ in range(clients):
            client = connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(f"GET /?{size} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        seen, since = memory(server, "VmHWM"), time.monotonic()
        while time.monotonic() - since < 3:
            time.sleep(0.1)
            if (now := memory(server, "VmHWM")) > seen:
                seen, since = now, time.monotonic()


CASES = {"push, announced": all_push(announced), "push, in chunks": all_push(in_chunks), "do not read": none_reads}


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10, help="at the same time (default 10)")
    parser.add_argument("--megabytes", type=int, default=200, help="that each pushes or does not read (default 200)")
    options = parser.parse_args()
    end_well()
    print(f"{options.clients} clients, {options.megabytes} MB each: MB that the resident memory rises by\n")
    print(f"{'':16}", *(f"{name:>14}" for name in SERVERS))
    worst = 0.0
    for case in CASES:
        rises = [rise(name, case, options.clients, options.megabytes * MEGABYTE) for name in SERVERS]
        print(f"{case:16}", *(f"{rise:14.0f}" for rise in rises), flush=True)
        worst = max(worst, rises[0])
    return 0 if worst <= MOST else 1


def rise(name: str, case: str, clients: int, size: int) -> float:
    """By how many MB the memory of a fresh server rises."""
    with (
        TemporaryDirectory(prefix="mailrail-limits-") as folder,
        running(SERVERS[name], log=Path(folder) / "log", env={"TMPDIR": folder}) as server,
    ):
        announced(server, len(PIECE))
        before = memory(server, "VmRSS")
        CASES[case](server, clients, size)
        return (memory(server, "VmHWM") - before) / MEGABYTE


def memory(server: Server, line: str) -> int:
    """A line of what the kernel says of its memory, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(each.split()[1]) * 1024 for each in status.splitlines() if each.startswith(line))


if __name__ == "__main__":
    sys.exit(main())
