"""The notes, section by section, each at the path they show."""

import time
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query, WebSocket

from fastapi_app.dependencies import SendingCaller, SubmissionDep, WorkerDep
from fastapi_app.error_responses import error_responses
from fastapi_app.examples.arithmetic import add_numbers
from fastapi_app.examples.echo import echo
from fastapi_app.examples.greeting import greet_all
from fastapi_app.examples.schemas import Address, Greetings, Message, Name, Sum, Text
from project.bridge.background.background_tasks import BackgroundRoute
from project.emails.mime.headers import addr_spec
from project.emails.submit import text_message

router = APIRouter(route_class=BackgroundRoute, tags=["notes"])


async def get_dependency() -> str:  # as a plain `def` it would be run in a thread
    """What the root's greeting depends on. A test can put another in its place."""
    return "Dependency Injection"


@router.get("/", summary="Depends", operation_id="read_root")
async def read_root(dependency: Annotated[str, Depends(get_dependency)]) -> Message:
    """Say hello to what a dependency gives."""
    return Message(message=f"Hello, {dependency}")


@router.get("/greet", summary="Asyncio", operation_id="greet", responses=error_responses(422))
async def greet(
    name: Annotated[list[Name], Query(min_length=1, max_length=50, examples=[["Alice", "Bob"]])],
    pause: Annotated[float, Query(ge=0, le=5, description="Seconds between hello and goodbye")] = 1.0,
) -> Greetings:
    """Greet everyone at once: fifty names take one pause, not fifty."""
    started = time.perf_counter()
    greetings = await greet_all(name, pause)
    return Greetings(greetings=greetings, elapsed=time.perf_counter() - started)


@router.get("/add", summary="Types", operation_id="add", responses=error_responses(422))
async def add(x: Annotated[int, Query(examples=[3])], y: Annotated[int, Query(examples=[5])]) -> Sum:
    """Add two numbers. What is not a number is refused by name."""
    return Sum(result=add_numbers(x, y))


@router.post(
    "/send-email/",
    summary="BackgroundTasks",
    operation_id="send_email_in_background",
    responses=error_responses(401, 403, 413, 422),
)
async def send_email(  # noqa: PLR0913  # what a route asks for
    email: Annotated[Address, Query()],
    message: Annotated[Text, Query(examples=["Hi"])],
    background_tasks: BackgroundTasks,
    submission: SubmissionDep,
    worker: WorkerDep,
    principal: SendingCaller,
) -> Message:
    """Queue a mail and answer at once; it is safe in the database by then, and sent in the background.

    Needs no credential only while mail cannot leave this machine.
    """
    order = text_message(address=email, text=message)
    if principal is not None:
        order = replace(order, owner_id=principal.owner_id, quota_key=principal.quota_key)
        principal.require_sender(addr_spec(order.draft.sender))
    await submission.submit(order)
    background_tasks.add_task(worker.wake_or_deliver)
    return Message(message="Email will be sent in the background")


@router.websocket("/ws")
async def websocket_endpoint(websocket: WebSocket) -> None:
    """Echo."""
    await echo(websocket)
