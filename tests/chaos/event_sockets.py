"""WebSockets that receive all events, and that reconnect with the last event id when a connection ends."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.chaos.site import INSECURE, PUBLIC_HOST, Site
from tests.processes import wait_for

RECONNECT_SECONDS = 0.2


class EventSocket:
    """A client of one host, or of nginx. `connect_options` contain the address."""

    def __init__(self, name: str, scheme: str, headers: dict[str, str], **connect_options: Any) -> None:
        self.name = name
        self.ids: list[int] = []
        self.connections = 0
        self.connection: socket.socket | None = None
        self._url = f"{scheme}://{PUBLIC_HOST}/api/ws/events"
        self._options = {"additional_headers": headers, "compression": None, "max_queue": None, **connect_options}

    async def receive(self) -> None:
        """Receive events until the task is canceled."""
        while True:
            with suppress(OSError, WebSocketException):
                async with connect(f"{self._url}?after={self.ids[-1] if self.ids else 0}", **self._options) as websocket:
                    self.connection = websocket.transport.get_extra_info("socket")
                    self.connections += 1
                    async for message in websocket:
                        event = json.loads(message)
                        if event["type"] != "ready":
                            self.ids.append(event["id"])
            await asyncio.sleep(RECONNECT_SECONDS)


@contextmanager
def receiving(site: Site, *, per_host: int) -> Iterator[Sequence[EventSocket]]:
    """Receive events in a thread until the end of the `with` block, on `per_host` sockets of each host, and of nginx."""
    credential = {"Authorization": f"Bearer {site.key}"}
    as_proxy = {**credential, "X-Forwarded-Proto": "https"}
    sockets = [
        EventSocket(f"host {number}", "ws", as_proxy, host=host.web.address, port=host.web.port)
        for number, host in enumerate(site.hosts)
        for _ in range(per_host)
    ]
    sockets += [EventSocket("nginx", "wss", credential, host="127.0.0.1", port=site.port, ssl=INSECURE) for _ in range(per_host)]
    with _running_loop() as loop:
        receiving = [asyncio.run_coroutine_threadsafe(each.receive(), loop) for each in sockets]
        try:
            wait_for(lambda: all(each.connections for each in sockets), "all sockets are open", lambda: site.logs)
            yield sockets
        finally:
            for each in receiving:
                each.cancel()


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        _end_tasks(loop, thread.join)


def _end_tasks(loop: asyncio.AbstractEventLoop, join: Callable[[float], None]) -> None:
    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    join(30)
    loop.close()
