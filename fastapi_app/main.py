"""The FastAPI application: `create_app()`, and `app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from django.conf import settings
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware import Middleware

from fastapi_app.auth import routes as auth
from fastapi_app.body_limit import BodySizeLimitMiddleware
from fastapi_app.cors import cors_middleware
from fastapi_app.emails import resend
from fastapi_app.emails import routes as emails
from fastapi_app.events import routes as events
from fastapi_app.events.client_gone import ClientGoneMiddleware
from fastapi_app.events.routes import sockets
from fastapi_app.examples import routes as examples
from fastapi_app.exception_handlers import EXCEPTION_HANDLERS
from fastapi_app.health import routes as health
from fastapi_app.health.readiness import ReadinessChecks
from fastapi_app.health.traces import is_not_traced
from fastapi_app.openapi import INFO, TAGS, add_openapi
from fastapi_app.openapi_ui import add_openapi_ui
from fastapi_app.public_redirects import PublicRedirectMiddleware
from fastapi_app.request_body import close_body_threads
from fastapi_app.suppressions import routes as suppressions
from fastapi_app.templates import routes as templates
from fastapi_app.websocket_errors import WEBSOCKET_ERROR_HANDLERS
from project.audit.writer import AuditWriter
from project.auth.credential_changes import CREDENTIALS_TOPIC, poll_credential_changes
from project.bridge.background.background_tasks import background_tasks_lifespan
from project.bridge.background.shutdown_deadline import ShutdownDeadline
from project.bridge.database.read_transactions import run_lookup
from project.bridge.database.transactions import DATABASE_UNAVAILABLE_ERRORS, close_threads
from project.bridge.notifications.local import server_stopping
from project.config.database_schema import refuse_incompatible_database
from project.delivery.celery_dispatcher import CeleryDispatcher
from project.delivery.worker import DeliveryWorker
from project.delivery.worker_process import WorkerProcess
from project.emails.admin.bulk_runner import create_bulk_action_runner
from project.emails.submission_service import SubmissionService
from project.events.database_notifications import database_notifications
from project.events.log import EVENTS_TOPIC, QUEUE_TOPIC
from project.events.stream import EventStream
from project.retention.erasure_runner import create_erasure_runner
from project.retention.pruner import RetentionPruner

DATABASE_CHECK_TIMEOUT_SECONDS = 5.0
# FastAPI makes a span per request if project.config.traces has set a tracer provider. Metrics and logs have their own ways out.
TELEMETRY: TelemetryConfig = {
    "auto_configure": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "exclude": is_not_traced,
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the application's background parts as long as it serves requests. Then close the thread pools."""
    deadline = ShutdownDeadline(settings.SHUTDOWN_GRACE)
    try:
        await _refuse_incompatible_database()
        with server_stopping.subscribed(deadline.start):  # the drain of the requests uses the same grace period
            async with _running_parts(app, deadline):
                yield
    finally:
        app.state.submission.close()
        close_body_threads()
        close_threads()


@asynccontextmanager
async def _running_parts(app: FastAPI, deadline: ShutdownDeadline) -> AsyncIterator[None]:
    async with (
        app.state.audit_writer.running(),
        app.state.retention_pruner.running(),
        app.state.bulk_action_runner.running(),
        app.state.erasure_runner.running(),
        database_notifications(EVENTS_TOPIC, QUEUE_TOPIC, CREDENTIALS_TOPIC),
        poll_credential_changes(),
        app.state.event_stream.running(),
        app.state.delivery_worker.running(grace=deadline),
        background_tasks_lifespan(app, grace=deadline),
    ):
        yield


async def _refuse_incompatible_database() -> None:
    # An unavailable or slow database does not prevent startup: /api/health/ready reports it.
    with suppress(TimeoutError, *DATABASE_UNAVAILABLE_ERRORS):
        async with asyncio.timeout(DATABASE_CHECK_TIMEOUT_SECONDS):
            await run_lookup(refuse_incompatible_database)


def create_worker() -> DeliveryWorker:
    """Return the delivery worker that `DELIVERY_WORKER` selects."""
    folder = settings.ENV.ensure_data_dir() / "workers"
    if settings.DELIVERY_WORKER == "subprocess":
        return WorkerProcess(folder)
    if settings.DELIVERY_WORKER == "celery":
        return CeleryDispatcher(folder)
    return DeliveryWorker(folder, is_enabled=settings.DELIVERY_WORKER == "in_process")


def create_app() -> FastAPI:
    """Return a new application with its own submission service, delivery worker, event stream and audit writer."""
    app = FastAPI(
        title="Mailrail",
        version="0.1.0",
        openapi_tags=TAGS,
        **INFO,
        servers=[{"url": "/api"}],
        openapi_url="/openapi.json" if settings.API_DOCS else None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry=TELEMETRY,
        exception_handlers=EXCEPTION_HANDLERS | WEBSOCKET_ERROR_HANDLERS,
        middleware=[
            *cors_middleware(),
            Middleware(ClientGoneMiddleware),
            Middleware(PublicRedirectMiddleware),
            Middleware(BodySizeLimitMiddleware),
        ],
    )
    app.state.delivery_worker = create_worker()
    app.state.readiness = ReadinessChecks(app.state.delivery_worker)
    app.state.submission, app.state.event_stream = SubmissionService(), EventStream()
    app.state.audit_writer, app.state.retention_pruner = AuditWriter(), RetentionPruner()
    app.state.bulk_action_runner, app.state.erasure_runner = create_bulk_action_runner(), create_erasure_runner()
    for part in (
        emails,
        resend,
        examples,
        events,
        templates,
        suppressions,
        auth,
        health,
    ):  # routes are matched in order, so the busiest routes come first
        app.include_router(part.router)
    app.include_router(sockets)
    add_openapi(app)
    if settings.API_DOCS:
        add_openapi_ui(app)  # last, because routes are matched in order
    return app


app = create_app()
