"""The sections of the FastAPI notes, each at the path that the notes show."""

import time
from dataclasses import replace
from typing import Annotated

from fastapi import BackgroundTasks, Depends, Query, WebSocket

from fastapi_app.api_route import ApiRouter
from fastapi_app.dependencies import SendingCaller, SendingDep
from fastapi_app.error_responses import openapi_errors
from fastapi_app.examples.arithmetic import add_numbers
from fastapi_app.examples.echo import echo
from fastapi_app.examples.greeting import greet_all
from fastapi_app.examples.schemas import Address, Greetings, Message, Name, Sum, Text
from project.emails.mime.headers import addr_spec
from project.emails.submit import plain_text_email

router = ApiRouter(tags=["examples"])


async def get_dependency() -> str:  # `async`, because a plain `def` would run in a thread
    """Return the string that `read_root` depends on. A test overrides this dependency."""
    return "Dependency Injection"


@router.get("/", summary="Get a message from a dependency", operation_id="read_root")
async def read_root(dependency: Annotated[str, Depends(get_dependency)]) -> Message:
    """Return a greeting with a string from a dependency."""
    return Message(message=f"Hello, {dependency}")


@router.get(
    "/greet",
    summary="Greet names concurrently",
    operation_id="greet",
    responses=openapi_errors(422),
)
async def greet(
    name: Annotated[list[Name], Query(min_length=1, max_length=50, examples=[["Alice", "Bob"]])],
    pause: Annotated[float, Query(ge=0, le=5, description="Seconds between hello and goodbye")] = 1.0,
) -> Greetings:
    """Greet all names concurrently: fifty names take one pause, not fifty pauses."""
    started = time.perf_counter()
    greetings = await greet_all(name, pause)
    return Greetings(greetings=greetings, elapsed=time.perf_counter() - started)


@router.get("/add", summary="Add two numbers", operation_id="add", responses=openapi_errors(422))
async def add(x: Annotated[int, Query(examples=[3])], y: Annotated[int, Query(examples=[5])]) -> Sum:
    """Add two numbers. If a value is not an integer, the response is a 422 that names the parameter."""
    return Sum(result=add_numbers(x, y))


@router.post(
    "/send-email/",
    summary="Send a text email in the background",
    operation_id="send_email_in_background",
    responses=openapi_errors(401, 403, 413, 422),
)
async def send_email(
    email: Annotated[Address, Query()],
    message: Annotated[Text, Query(examples=["Hi"])],
    background_tasks: BackgroundTasks,
    sending: SendingDep,
    principal: SendingCaller,
) -> Message:
    """Commit an email to the database, respond, and send the email in the background.

    Works without a credential only while the embedded mailbox is the transport.
    """
    new_email = plain_text_email(address=email, text=message)
    if principal is not None:
        new_email = replace(new_email, owner_id=principal.owner_id, quota_key=principal.quota_key)
        principal.require_sender(addr_spec(new_email.draft.sender))
    await sending.submission.submit(new_email)
    background_tasks.add_task(sending.worker.wake_or_deliver)
    return Message(message="Email will be sent in the background")


@router.websocket("/ws")
async def websocket_endpoint(websocket: WebSocket) -> None:
    """Echo text messages."""
    await echo(websocket)
