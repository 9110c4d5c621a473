"""Endpoints that Mailrail has no use for, to be served as `bench.probe:application`."""

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
    """What a synchronous endpoint depends on."""
    return "Dependency Injection"


@app.get("/def")
def sync_endpoint(what: Annotated[str, Depends(dependency)]) -> str:
    """No ORM: a thread for the dependency, and one for the endpoint."""
    return f"Hello, {what}"


def read_row() -> str:
    """One narrow row, by its key."""
    return ContentType.objects.get(pk=1).model


def insert_row() -> str:
    """One narrow row, committed."""
    return Session.objects.create(session_key=token_hex(20), expire_date=timezone.now()).session_key


@app.get("/read/door")
async def read_through_the_door() -> str:
    """As Mailrail does it."""
    return await run_in_transaction(read_row)


@app.get("/insert/door")
async def insert_through_the_door() -> str:
    """As Mailrail does it."""
    return await run_in_transaction(insert_row)


@app.get("/read/def")
def read_in_a_def_endpoint() -> str:
    """As FastAPI's users do it."""
    return read_row()


@app.get("/insert/def")
def insert_in_a_def_endpoint() -> str:
    """As FastAPI's users do it."""
    return insert_row()


@app.get("/read/async")
async def read_by_async_orm() -> str:
    """As Django's users do it."""
    return (await ContentType.objects.aget(pk=1)).model


@app.get("/insert/async")
async def insert_by_async_orm() -> str:
    """As Django's users do it."""
    return (await Session.objects.acreate(session_key=token_hex(20), expire_date=timezone.now())).session_key


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The asynchronous ORM has a thread for each request, as in Django's own requests; the rest goes through as it is."""
    if scope.get("path", "").endswith("/async"):
        async with ThreadSensitiveContext():
            await app(scope, receive, send)
    else:
        await app(scope, receive, send)
