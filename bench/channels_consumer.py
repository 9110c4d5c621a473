"""The usual solution with Channels: a consumer in a group. It is served as `bench.channels_consumer:application`."""

import django

django.setup()  # before anything that imports a model

from typing import Any  # noqa: E402
from urllib.parse import parse_qs  # noqa: E402

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from starlette.types import Receive, Scope, Send  # noqa: E402

EVENT = (
    '{"id": 1234, "type": "email.queued", "created_at": "2026-12-01T09:00:00.000000Z", "data": {"email_id": '
    '"01930c5e-7e0a-7b3c-8f00-3f1c2a9b4d5e", "status": "queued", "to": ["ada@example.com"], "subject": "Your order", '
    '"tags": {}, "attempt": 0, "smtp_code": null, "response": null}}'
)


class Consumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A consumer as in Channels' tutorial."""

    async def connect(self) -> None:
        """Join the group."""
        await self.channel_layer.group_add("events", self.channel_name)
        await self.accept()
        await self.send(text_data='{"type": "ready"}')

    async def deliver(self, event: dict[str, Any]) -> None:
        """Send an event to the client."""
        await self.send(text_data=event["text"])


consumer = Consumer.as_asgi()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve WebSockets and HTTP requests. A request with `?count=N` sends N events to the group."""
    if scope["type"] == "websocket":
        await consumer(scope, receive, send)
    elif scope["type"] == "http":
        for _ in range(int(parse_qs(scope["query_string"].decode())["count"][0])):
            await get_channel_layer().group_send("events", {"type": "deliver", "text": EVENT})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
