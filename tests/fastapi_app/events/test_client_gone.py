"""A client that leaves a stream causes no error, and all other errors are raised."""

import pytest
from anyio import BrokenResourceError
from starlette.types import Message, Receive, Scope, Send

from fastapi_app.events.client_gone import ClientGoneMiddleware

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def call(error: Exception, *, starts: bool) -> None:
    """Run an application that fails with `error`, before or after its response starts."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        if starts:
            await send(START)
        raise error

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        pass

    await ClientGoneMiddleware(app)({"type": "http"}, receive, send)


@pytest.mark.anyio
@pytest.mark.parametrize("error", [BrokenResourceError(), ExceptionGroup("tasks", [BrokenResourceError()])])
async def test_ends_a_stream_whose_client_left(error: Exception) -> None:
    await call(error, starts=True)


@pytest.mark.anyio
async def test_raises_the_error_if_there_is_no_response_yet() -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        await call(ExceptionGroup("tasks", [BrokenResourceError()]), starts=False)

    assert raised.group_contains(BrokenResourceError)


@pytest.mark.anyio
async def test_raises_other_errors() -> None:
    with pytest.raises(RuntimeError):
        await call(RuntimeError("a bug"), starts=True)


@pytest.mark.anyio
async def test_raises_the_other_errors_of_a_group() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await call(ExceptionGroup("tasks", [BrokenResourceError(), RuntimeError("a bug")]), starts=True)

    assert raised.group_contains(RuntimeError)
    assert not raised.group_contains(BrokenResourceError)
