"""For those who run it."""

from fastapi import APIRouter, Depends, Response, status
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from fastapi_app.dependencies import EventStreamDep, WorkerDep
from fastapi_app.error_responses import error_responses_for_non_json
from fastapi_app.health.checks import run_health_checks
from fastapi_app.health.metrics import QueueCollector, render_metrics, require_metrics_access
from fastapi_app.health.schemas import Liveness, Readiness
from project.bridge.background.background_tasks import BackgroundRoute
from project.bridge.database.transactions import run_in_transaction
from project.delivery.queue_stats import read_queue_stats

router = APIRouter(route_class=BackgroundRoute, tags=["operating"])

METRICS_RESPONSE = {
    "content": {"text/plain": {"schema": {"type": "string", "examples": ['mailrail_mails{status="queued"} 2.0']}}}
}


@router.get("/health/live", summary="Is the process alive?", operation_id="get_liveness")
async def live() -> Liveness:
    """200 while the process can answer."""
    return Liveness()


@router.get("/health/ready", summary="Can it do its work?", operation_id="get_readiness", responses={503: {"model": Readiness}})
async def ready(worker: WorkerDep, response: Response) -> Readiness:
    """200, or 503 that says which part fails."""
    checks = await run_health_checks(worker)
    if set(checks.values()) == {"ok"}:
        return Readiness(status="ok", checks=checks)
    response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(status="unavailable", checks=checks)


@router.get(
    "/metrics",
    summary="Get metrics",
    operation_id="get_metrics",
    dependencies=[Depends(require_metrics_access)],
    response_class=PlainTextResponse,
    responses={200: METRICS_RESPONSE, **error_responses_for_non_json(401, 403)},
)
async def metrics(event_stream: EventStreamDep) -> Response:
    """For Prometheus: mails by status, how long the queue is behind, deliveries, failures, sockets, and the process itself."""
    standing = QueueCollector(await run_in_transaction(read_queue_stats), event_stream.subscribers)
    return Response(render_metrics(standing), headers={"Content-Type": CONTENT_TYPE_LATEST})
