"""For those who run it."""

from fastapi import APIRouter, Depends, Response, status
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from fastapi_app.deps import LiveTail, RunningEngine
from fastapi_app.errors import problems_beside
from fastapi_app.operating.checks import findings
from fastapi_app.operating.metrics import Standing, scraper, text
from fastapi_app.operating.schemas import Alive, Readiness
from project.bridge import database
from project.bridge.background import BackgroundRoute
from project.outbox.backlog import backlog

router = APIRouter(route_class=BackgroundRoute, tags=["operating"])

METRICS = {"content": {"text/plain": {"schema": {"type": "string", "examples": ['mailrail_mails{status="queued"} 2.0']}}}}


@router.get("/health/live", summary="Is the process alive?", operation_id="get_liveness")
async def live() -> Alive:
    """200 while the process can answer."""
    return Alive()


@router.get("/health/ready", summary="Can it do its work?", operation_id="get_readiness", responses={503: {"model": Readiness}})
async def ready(engine: RunningEngine, response: Response) -> Readiness:
    """200, or 503 that says which part fails."""
    checks = await findings(engine)
    if set(checks.values()) == {"ok"}:
        return Readiness(status="ok", checks=checks)
    response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(status="unavailable", checks=checks)


@router.get(
    "/metrics",
    summary="Get metrics",
    operation_id="get_metrics",
    dependencies=[Depends(scraper)],
    response_class=PlainTextResponse,
    responses={200: METRICS, **problems_beside(401, 403)},
)
async def metrics(tail: LiveTail) -> Response:
    """For Prometheus: mails by status, how long the queue is behind, deliveries, failures, sockets, and the process itself."""
    standing = Standing(await database.run(backlog), tail.followers)
    return Response(text(standing), headers={"Content-Type": CONTENT_TYPE_LATEST})
