"""Server memory used by clients that upload a lot or do not read: `python -m bench.limits [--clients 10] [--megabytes 200]`.

Each figure is the peak rise of a fresh process's resident memory after a first small request. Compares the bridge's server class
with stock Daphne and Uvicorn. Exits with 1 if the bridge's memory rises by more than 20 MB.
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

from bench.processes import terminate_cleanly
from tests.processes import Server, running

MEGABYTE = 1_000_000
CHUNK = bytes(64 * 1024)
MAX_RISE = 20  # MB, for the bridge's server class
SERVERS = {
    "the bridge's": ["-m", "bench.serve", "-v", "0", "-p", "{port}", "bench.limits:application"],
    "stock Daphne": ["-m", "daphne", "-v", "0", "-p", "{port}", "bench.limits:application"],
    "Uvicorn": ["-m", "uvicorn", "--log-level", "error", "--lifespan", "off", "--port", "{port}", "bench.limits:application"],
}
Push = Callable[[Server, int], None]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Discard the request body, and stream as many bytes as the query string requests. All servers run this application."""
    if scope["type"] == "lifespan":
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(scope["query_string"] or 0) // len(CHUNK)):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def push_with_length(server: Server, size: int) -> None:
    """Upload a body with a Content-Length."""
    _post(server, size, {"Content-Length": str(size)})


def push_chunked(server: Server, size: int) -> None:
    """Upload a chunked body."""
    _post(server, size, {})


def _post(server: Server, size: int, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    with suppress(ConnectionError):  # the server may reject it at any moment
        connection.request("POST", "/", _chunks(size), headers, encode_chunked=not headers)
        connection.getresponse().read()
    connection.close()


def _chunks(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(CHUNK)):
        yield CHUNK[: size - start]


def all_push(push: Push) -> Callable[[Server, int, int], None]:
    """Return a case in which all clients upload at the same time and wait for their responses."""

    def run(server: Server, clients: int, size: int) -> None:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(lambda _: push(server, size), range(clients)))

    return run


def no_client_reads(server: Server, clients: int, size: int) -> None:
    """Request streams that no client reads. Wait until the memory has not risen for three seconds."""
    with ExitStack() as connections:
        for _ in range(clients):
            client = connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(f"GET /?{size} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        peak, since = memory(server, "VmHWM"), time.monotonic()
        while time.monotonic() - since < 3:
            time.sleep(0.1)
            if (now := memory(server, "VmHWM")) > peak:
                peak, since = now, time.monotonic()


CASES = {
    "upload, with length": all_push(push_with_length),
    "upload, chunked": all_push(push_chunked),
    "do not read": no_client_reads,
}


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10, help="concurrent clients (default 10)")
    parser.add_argument("--megabytes", type=int, default=200, help="per client (default 200)")
    options = parser.parse_args()
    terminate_cleanly()
    print(f"{options.clients} clients, {options.megabytes} MB each: MB that the resident memory rises by\n")
    print(f"{'':16}", *(f"{name:>14}" for name in SERVERS))
    worst = 0.0
    for case in CASES:
        rises = [rise(name, case, options.clients, options.megabytes * MEGABYTE) for name in SERVERS]
        print(f"{case:16}", *(f"{rise:14.0f}" for rise in rises), flush=True)
        worst = max(worst, rises[0])
    return 0 if worst <= MAX_RISE else 1


def rise(name: str, case: str, clients: int, size: int) -> float:
    """Return by how many MB the memory of a newly started server rises."""
    with (
        TemporaryDirectory(prefix="mailrail-limits-") as folder,
        running(SERVERS[name], log=Path(folder) / "log", env={"TMPDIR": folder}) as server,
    ):
        push_with_length(server, len(CHUNK))
        before = memory(server, "VmRSS")
        CASES[case](server, clients, size)
        return (memory(server, "VmHWM") - before) / MEGABYTE


def memory(server: Server, line: str) -> int:
    """Return the value of a line of /proc/PID/status, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(each.split()[1]) * 1024 for each in status.splitlines() if each.startswith(line))


if __name__ == "__main__":
    sys.exit(main())
