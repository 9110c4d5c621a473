"""Endpoints that only the benchmarks need, served as `bench.probe:application`."""

import django

django.setup()  # before anything that imports a model

from secrets import token_hex  # noqa: E402
from typing import Annotated  # noqa: E402

from asgiref.sync import ThreadSensitiveContext  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.utils import timezone  # noqa: E402
from fastapi import Depends, FastAPI  # noqa: E402
from starlette.types import Receive, Scope, Send  # noqa: E402

from project.bridge.database.transactions import run_in_transaction  # noqa: E402

app = FastAPI()


def dependency() -> str:
    """Return a value, as a synchronous dependency."""
    return "Dependency Injection"


@app.get("/def")
def sync_endpoint(value: Annotated[str, Depends(dependency)]) -> str:
    """Use no ORM. The dependency and the endpoint are separate calls to a thread pool."""
    return f"Hello, {value}"


def read_row() -> str:
    """Read one narrow row by its key."""
    return ContentType.objects.get(pk=1).model


def insert_row() -> str:
    """Insert one narrow row."""
    return Session.objects.create(session_key=token_hex(20), expire_date=timezone.now()).session_key


@app.get("/read/transaction")
async def read_in_a_transaction() -> str:
    """Use `run_in_transaction`, as Mailrail does."""
    return await run_in_transaction(read_row)


@app.get("/insert/transaction")
async def insert_in_a_transaction() -> str:
    """Use `run_in_transaction`, as Mailrail does."""
    return await run_in_transaction(insert_row)


@app.get("/read/def")
def read_in_a_def_endpoint() -> str:
    """Use a `def` endpoint, as is usual in FastAPI."""
    return read_row()


@app.get("/insert/def")
def insert_in_a_def_endpoint() -> str:
    """Use a `def` endpoint, as is usual in FastAPI."""
    return insert_row()


@app.get("/read/async")
async def read_by_async_orm() -> str:
    """Use the asynchronous ORM, as is usual in Django."""
    return (await ContentType.objects.aget(pk=1)).model


@app.get("/insert/async")
async def insert_by_async_orm() -> str:
    """Use the asynchronous ORM, as is usual in Django."""
    return (await Session.objects.acreate(session_key=token_hex(20), expire_date=timezone.now())).session_key


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Run the asynchronous ORM on one thread per request, as Django does for its own requests."""
    if scope.get("path", "").endswith("/async"):
        async with ThreadSensitiveContext():
            await app(scope, receive, send)
    else:
        await app(scope, receive, send)
