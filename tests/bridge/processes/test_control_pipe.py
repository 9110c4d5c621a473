"""The control pipe: lines that must not end the connection, and the grace that the server passes on."""

import socket
from collections.abc import AsyncIterator

import pytest

from project.bridge.processes.control_pipe import MAX_LINE_BYTES, ControlPipe

pytestmark = pytest.mark.anyio

Pipes = tuple[ControlPipe, ControlPipe]


@pytest.fixture
async def pipes() -> AsyncIterator[Pipes]:
    """Return both ends of a control pipe: the server's end and the child's end."""
    ends = [await ControlPipe.open(end) for end in socket.socketpair()]
    yield ends[0], ends[1]
    for end in ends:
        end.close()


async def received(pipe: ControlPipe) -> list[str]:
    """Return all lines until the other end finishes."""
    return [line async for line in pipe.lines()]


@pytest.mark.parametrize("excess", [1, MAX_LINE_BYTES, 5 * MAX_LINE_BYTES])
async def test_a_line_that_is_too_long_is_dropped_and_the_next_is_received(
    pipes: Pipes, caplog: pytest.LogCaptureFixture, excess: int
) -> None:
    server, child = pipes
    child._writer.write(b"first\n" + b"x" * (MAX_LINE_BYTES + excess) + b"\nnext\n")
    child.finish()

    assert await received(server) == ["first", "next"]
    assert server.received_end
    assert f"Dropped a message of {MAX_LINE_BYTES + excess + 1} bytes; the maximum is {MAX_LINE_BYTES}" in caplog.text


async def test_a_long_line_without_an_end_is_dropped(pipes: Pipes) -> None:
    server, child = pipes
    child._writer.write(b"x" * (MAX_LINE_BYTES + 1))
    child._writer.write_eof()

    assert (await received(server), server.received_end) == ([], False)


async def test_a_line_that_is_not_utf_8_does_not_end_the_connection(pipes: Pipes) -> None:
    server, child = pipes
    child._writer.write(b"\xff\nnext\n")
    child.finish()

    assert await received(server) == ["\ufffd", "next"]


async def test_does_not_send_a_line_that_is_too_long(pipes: Pipes, caplog: pytest.LogCaptureFixture) -> None:
    server, child = pipes
    child.send("x" * MAX_LINE_BYTES)
    child.send("x" * (MAX_LINE_BYTES - 1))
    child.finish()

    assert [len(line) for line in await received(server)] == [MAX_LINE_BYTES - 1]
    assert "Dropped a message of" in caplog.text


@pytest.mark.parametrize("grace", [None, 0.0, 12.5])
async def test_the_other_process_receives_its_grace(pipes: Pipes, grace: float | None) -> None:
    server, child = pipes
    server.finish(grace=grace)

    assert (await received(child), child.received_end, child.received_grace) == ([], True, grace)
