"""The notes, section by section, each at the path they show."""

import time
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query, WebSocket

from fastapi_app.deps import OpenIntake, RunningEngine, SendingCaller
from fastapi_app.errors import problems
from fastapi_app.notes.arithmetic import add_numbers
from fastapi_app.notes.echo import echo
from fastapi_app.notes.greeting import greet_all
from fastapi_app.notes.schemas import Address, Greetings, Message, Name, Sum, Text
from project.bridge.background import BackgroundRoute
from project.outbox import mime
from project.outbox.accept import message_order

router = APIRouter(route_class=BackgroundRoute, tags=["notes"])


async def get_dependency() -> str:  # as a plain `def` it would be run in a thread
    """What the root's greeting depends on. A test can put another in its place."""
    return "Dependency Injection"


@router.get("/", summary="Depends", operation_id="read_root")
async def read_root(dependency: Annotated[str, Depends(get_dependency)]) -> Message:
    """Say hello to what a dependency gives."""
    return Message(message=f"Hello, {dependency}")


@router.get("/greet", summary="Asyncio", operation_id="greet", responses=problems(422))
async def greet(
    name: Annotated[list[Name], Query(min_length=1, max_length=50, examples=[["Alice", "Bob"]])],
    pause: Annotated[float, Query(ge=0, le=5, description="Seconds between hello and goodbye")] = 1.0,
) -> Greetings:
    """Greet everyone at once: fifty names take one pause, not fifty."""
    started = time.perf_counter()
    greetings = await greet_all(name, pause)
    return Greetings(greetings=greetings, elapsed=time.perf_counter() - started)


@router.get("/add", summary="Types", operation_id="add", responses=problems(422))
async def add(x: Annotated[int, Query(examples=[3])], y: Annotated[int, Query(examples=[5])]) -> Sum:
    """Add two numbers. What is not a number is refused by name."""
    return Sum(result=add_numbers(x, y))


@router.post(
    "/send-email/",
    summary="BackgroundTasks",
    operation_id="send_email_in_background",
    responses=problems(401, 403, 413, 422),
)
async def send_email(  # noqa: PLR0913  # what a route asks for
    email: Annotated[Address, Query()],
    message: Annotated[Text, Query(examples=["Hi"])],
    background_tasks: BackgroundTasks,
    intake: OpenIntake,
    engine: RunningEngine,
    who: SendingCaller,
) -> Message:
    """Queue a mail and answer at once; it is safe in the database by then, and sent in the background.

    Needs no credential only while mail cannot leave this machine.
    """
    order = message_order(address=email, text=message)
    if who is not None:
        order = replace(order, caller_id=who.caller_id, quota_key=who.quota_key)
        who.require_sender(mime.bare(order.draft.sender))
    await intake.accept(order)
    background_tasks.add_task(engine.deliver_soon)
    return Message(message="Email will be sent in the background")


@router.websocket("/ws")
async def websocket_endpoint(websocket: WebSocket) -> None:
    """Echo."""
    await echo(websocket)
