"""For those who run it."""

from fastapi import APIRouter, Response, status

from fastapi_app.deps import RunningEngine
from fastapi_app.operating.checks import findings
from fastapi_app.operating.schemas import Alive, Readiness
from project.bridge.background import BackgroundRoute

router = APIRouter(route_class=BackgroundRoute, prefix="/health", tags=["operating"])


@router.get("/live", summary="Is the process alive?", operation_id="get_liveness")
async def live() -> Alive:
    """200 while the process can answer."""
    return Alive()


@router.get("/ready", summary="Can it do its work?", operation_id="get_readiness", responses={503: {"model": Readiness}})
async def ready(engine: RunningEngine, response: Response) -> Readiness:
    """200, or 503 that says which part fails."""
    checks = await findings(engine)
    if set(checks.values()) == {"ok"}:
        return Readiness(status="ok", checks=checks)
    response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(status="unavailable", checks=checks)
