"""Health and metrics, for operators."""

from typing import Annotated

from fastapi import Depends, Request, Response, status
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from fastapi_app.api_route import ApiRouter
from fastapi_app.error_responses import openapi_non_json_errors
from fastapi_app.health.metrics import find_queue_stats, require_metrics_access
from fastapi_app.health.readiness import ReadinessChecks
from fastapi_app.health.schemas import Liveness, Readiness
from fastapi_app.query_parameters import reject_unknown_query
from project.bridge.database.transactions import run_in_thread
from project.delivery.queue_collector import QueueCollector
from project.metrics.exposition import render_metrics

router = ApiRouter(tags=["health"])


def get_readiness_checks(request: Request) -> ReadinessChecks:
    """Return the application's readiness checks."""
    checks: ReadinessChecks = request.app.state.readiness
    return checks


ReadinessDep = Annotated[ReadinessChecks, Depends(get_readiness_checks)]
METRICS_RESPONSE = {
    "content": {"text/plain": {"schema": {"type": "string", "examples": ['mailrail_emails{status="queued"} 2.0']}}}
}


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Check liveness", operation_id="get_liveness")
async def live() -> Liveness:
    """Return 200 while the process can respond."""
    return Liveness()


@router.head("/health/ready", include_in_schema=False)
@router.get(
    "/health/ready",
    summary="Check readiness",
    operation_id="get_readiness",
    response_model_exclude_none=True,
    responses={503: {"model": Readiness}},
)
async def ready(readiness: ReadinessDep, response: Response) -> Readiness:
    """Return 200 if emails are accepted and delivered, otherwise 503. The body contains the result of each check."""
    report = await readiness.run()
    if report.is_ready:
        return Readiness(status="degraded" if report.is_degraded else "ok", checks=report.checks, warning=report.warning)
    response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(status="unavailable", checks=report.checks, warning=report.warning)


@router.get(
    "/metrics",
    summary="Get metrics",
    operation_id="get_metrics",
    dependencies=[Depends(require_metrics_access), Depends(reject_unknown_query)],
    response_class=PlainTextResponse,
    responses={200: METRICS_RESPONSE, **openapi_non_json_errors(401, 403)},
)
async def metrics() -> Response:
    """Return Prometheus metrics: the queue, deliveries, failures, requests, connections, the database and the processes."""
    stats = await find_queue_stats()
    text = await run_in_thread(render_metrics, QueueCollector(lambda: stats))  # reads a file of each process
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
