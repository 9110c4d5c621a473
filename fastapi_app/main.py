"""The FastAPI application: `create_app()`, and `app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.conf import settings
from fastapi import FastAPI
from starlette.middleware import Middleware

from fastapi_app.auth import routes as auth
from fastapi_app.docs import add_docs
from fastapi_app.emails import routes as emails
from fastapi_app.errors import ERROR_HANDLERS
from fastapi_app.events import routes as events
from fastapi_app.limits import BodyLimit
from fastapi_app.notes import routes as notes
from fastapi_app.operating import routes as operating
from fastapi_app.suppressions import routes as suppressions
from fastapi_app.templates import routes as templates
from project.accounts import changes
from project.audit.clerk import Clerk
from project.bridge import background, database
from project.outbox.apart import EngineApart
from project.outbox.engine import Engine
from project.outbox.intake import Intake
from project.outbox.live import Tail


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """From the first request to the last: background tasks, the engine, the tail, the clerk, the database's pool."""
    grace = settings.SHUTDOWN_GRACE
    try:
        async with (
            app.state.clerk.running(),
            changes.watching(),
            app.state.tail.running(),
            app.state.engine.running(grace=grace),
            background.outliving(app, grace=grace),
        ):
            yield
    finally:
        app.state.intake.close()
        database.close()


def create_app() -> FastAPI:
    """A new application with its own intake, engine, tail and clerk."""
    app = FastAPI(
        title="Mailrail",
        summary="Send e-mail: one POST queues it, and you watch it go.",
        version="0.1.0",
        servers=[{"url": "/api"}],
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers=ERROR_HANDLERS,
        middleware=[Middleware(BodyLimit)],
    )
    folder, deliver = settings.ENV.data_folder / "engines", settings.DELIVER
    app.state.engine = EngineApart(folder) if deliver == "apart" else Engine(folder, delivers=deliver)
    app.state.intake, app.state.tail, app.state.clerk = Intake(), Tail(), Clerk()
    for part in (emails, notes, events, templates, suppressions, auth, operating):  # tried in order: the busiest first
        app.include_router(part.router)
    app.include_router(events.sockets)
    add_docs(app)  # last: routes are tried in order
    return app


app = create_app()
