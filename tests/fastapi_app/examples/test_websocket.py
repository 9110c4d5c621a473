"""The WebSocket example in this process, with the test clients of Starlette and Channels."""

import logging

import pytest
from channels.testing import WebsocketCommunicator
from starlette.testclient import TestClient
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from project.asgi import application

LIMIT = 64 * 1024
TOO_LONG = ["x" * (LIMIT + 1), "ä" * (LIMIT // 2 + 1)]
LONGEST = ["x" * LIMIT, "ä" * (LIMIT // 2)]


@pytest.fixture
def client() -> TestClient:
    """Return a client without access to a database, because these tests do not need a database."""
    return TestClient(application)


def communicator(path: str = "/api/ws", *headers: tuple[bytes, bytes]) -> WebsocketCommunicator:
    """Return the test client of Channels."""
    return WebsocketCommunicator(application, path, headers=list(headers))


@pytest.mark.parametrize("text", ["Hi", "", "Grüße, 世界 👋", "\x00", "two\nlines", *LONGEST])
def test_websocket_echoes(client: TestClient, text: str) -> None:
    with client.websocket_connect("/api/ws") as socket:
        socket.send_text(text)

        assert socket.receive_text() == f"Message text was: {text}"


def test_websocket_echoes_in_order(client: TestClient) -> None:
    with client.websocket_connect("/api/ws") as socket:
        for number in range(100):
            socket.send_text(str(number))

        assert [socket.receive_text() for _ in range(100)] == [f"Message text was: {number}" for number in range(100)]


def test_websocket_echoes_to_each_client_its_own_messages(client: TestClient) -> None:
    with client.websocket_connect("/api/ws") as one, client.websocket_connect("/api/ws") as other:
        one.send_text("one")
        other.send_text("other")

        assert (other.receive_text(), one.receive_text()) == ("Message text was: other", "Message text was: one")


def test_websocket_closes_on_a_binary_frame(client: TestClient) -> None:
    with client.websocket_connect("/api/ws") as socket:
        socket.send_bytes(b"\x00\xff")

        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == 1003


@pytest.mark.parametrize("text", TOO_LONG)
def test_websocket_closes_on_an_oversized_text(client: TestClient, text: str) -> None:
    with client.websocket_connect("/api/ws") as socket:
        socket.send_text(text)

        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == 1009


@pytest.mark.parametrize("path", ["/ws/nope", "/ws", "/", "/api", "/api/", "/api/nope", "/api/ws/nope", "/apix/ws", "/admin/"])
def test_websocket_rejects_an_unknown_path(client: TestClient, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(path):
        pass

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("origin", ["http://testserver", None])
def test_websocket_accepts_our_own_pages_and_clients_without_an_origin(client: TestClient, origin: str | None) -> None:
    with client.websocket_connect("/api/ws", headers={"Origin": origin} if origin else {}) as socket:
        socket.send_text("Hi")

        assert socket.receive_text() == "Message text was: Hi"


@pytest.mark.pitfall(18)
@pytest.mark.parametrize("origin", ["http://evil.example", "https://testserver", "http://testserver:81", "null", ""])
def test_websocket_rejects_foreign_origins(client: TestClient, origin: str) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/ws", headers={"Origin": origin}):
        pass


@pytest.mark.anyio
async def test_websocket_survives_a_client_that_disconnects_before_its_echo() -> None:
    incoming: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "Hi"}]

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "websocket.send":
            raise OSError  # the ASGI specification requires this of a server ("Disconnected Client - send exception")

    scope = {"type": "websocket", "path": "/api/ws", "headers": [], "query_string": b"", "subprotocols": []}
    await application(scope, receive, send)

    assert incoming == []


@pytest.mark.anyio
async def test_websocket_echoes_to_the_channels_client() -> None:
    socket = communicator()

    assert await socket.connect() == (True, None)
    await socket.send_to(text_data="Hi")
    assert await socket.receive_from() == "Message text was: Hi"
    await socket.disconnect()


@pytest.mark.anyio
@pytest.mark.parametrize("text", LONGEST)
async def test_websocket_echoes_the_longest_text_to_the_channels_client(text: str) -> None:
    socket = communicator()

    await socket.connect()
    await socket.send_to(text_data=text)
    assert await socket.receive_from() == f"Message text was: {text}"
    await socket.disconnect()


@pytest.mark.anyio
@pytest.mark.parametrize(("frame", "code"), [({"bytes_data": b"\x00"}, 1003), ({"text_data": TOO_LONG[0]}, 1009)])
async def test_websocket_closes_on_bad_frames_of_the_channels_client(frame: dict[str, str | bytes], code: int) -> None:
    socket = communicator()

    await socket.connect()
    await socket.send_to(**frame)
    closed = await socket.receive_output()

    assert (closed["type"], closed["code"]) == ("websocket.close", code)
    await socket.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/ws/nope", "/api/nope"])
async def test_websocket_rejects_an_unknown_path_of_the_channels_client(path: str) -> None:
    socket = communicator(path)

    accepted, _ = await socket.connect()

    assert not accepted
    await socket.wait()


@pytest.mark.anyio
@pytest.mark.pitfall(18)
async def test_websocket_rejects_foreign_origins_of_the_channels_client() -> None:
    socket = communicator("/api/ws", (b"origin", b"http://evil.example"), (b"host", b"testserver"))

    accepted, _ = await socket.connect()

    assert not accepted
    await socket.wait()
