"""The health routes: liveness and readiness."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db import InternalError, OperationalError
from django.utils import timezone
from pytest_django import Settings
from starlette.testclient import TestClient

from fastapi_app.health import readiness
from fastapi_app.main import app
from project.asgi import application
from project.bridge.notifications.cross_process import ping_channel_layer
from project.delivery.heartbeat import beat
from project.delivery.readiness import DatabaseReport, check_database
from project.delivery.worker import DeliveryWorker
from project.emails.models import Email
from project.emails.submit import submit_plain_text_email

NOT_RUNNING = "not running"


class LostLayer(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """A channel layer whose server is down."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Raise the error that redis-py raises."""
        raise ConnectionRefusedError("redis.internal:6379")


class SilentLayer(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """A channel layer that never responds."""

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait forever."""
        await asyncio.Event().wait()
        return {}


def channel_layer(layer: type) -> dict[str, dict[str, str]]:
    """Return CHANNEL_LAYERS with this class as the default channel layer."""
    return {"default": {"BACKEND": f"{layer.__module__}.{layer.__qualname__}"}}


@pytest.fixture(autouse=True)
def _no_shared_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "DATABASE_CHECK_INTERVAL_SECONDS", 0.0)  # the tests change the database between calls


@pytest.fixture
def worker(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> DeliveryWorker:
    """Return the application's delivery worker, which counts as healthy."""
    monkeypatch.setattr(DeliveryWorker, "is_healthy", True)
    worker: DeliveryWorker = app.state.delivery_worker
    return worker


def ready(client: TestClient) -> tuple[int, dict[str, Any]]:
    """Return the status code and the body of a readiness check."""
    answer = client.get("/api/health/ready")
    return answer.status_code, answer.json()


def test_is_live_while_the_process_responds(client: TestClient) -> None:
    answer = client.get("/api/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/api/health/live", "/api/health/ready"])
def test_head_is_answered_like_get(client: TestClient, path: str) -> None:
    get, head = client.get(path), client.head(path)

    assert (head.status_code, head.headers["Content-Type"]) == (get.status_code, get.headers["Content-Type"])


@pytest.mark.django_db(transaction=True)
def test_is_ready_while_the_lifespan_runs() -> None:
    with TestClient(application) as client:
        answer = client.get("/api/health/ready")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "checks": {"database": "ok", "channel_layer": "ok", "delivery": "ok"}}


def test_is_not_ready_without_a_delivery_worker(client: TestClient) -> None:
    answer = client.get("/api/health/ready")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "checks": {"database": "ok", "channel_layer": "ok", "delivery": NOT_RUNNING},
    }


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("error", [OperationalError("disk full on db.internal"), InternalError("read-only transaction")])
def test_is_not_ready_if_the_database_accepts_no_writes(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(**_options: object) -> NoReturn:
        raise error

    monkeypatch.setattr(readiness, "check_database", fail)

    assert ready(client) == (
        503,
        {
            "status": "unavailable",
            "checks": {"database": type(error).__name__, "channel_layer": "ok", "delivery": "ok"},
        },
    )


@pytest.mark.usefixtures("worker")
def test_is_not_ready_if_the_database_does_not_answer(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    may_answer, calls = threading.Event(), list[object]()

    def hang(**options: object) -> NoReturn:
        calls.append(options)
        may_answer.wait()
        raise OperationalError

    monkeypatch.setattr(readiness, "check_database", hang)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 0.1)

    async def check_twice() -> list[str]:
        checks = readiness.ReadinessChecks(app.state.delivery_worker)
        return [(await checks.run()).checks["database"] for _ in range(2)]

    try:
        results = asyncio.run(check_twice())
    finally:
        may_answer.set()

    assert (results, len(calls)) == (["no response within 0.1 s"] * 2, 1)  # the second call waits for the same check


def test_calls_at_the_same_time_share_a_check_of_the_database(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "DATABASE_CHECK_INTERVAL_SECONDS", 60.0)
    calls = list[object]()

    def count(**options: Any) -> DatabaseReport:
        calls.append(options)
        return check_database(**options)

    monkeypatch.setattr(readiness, "check_database", count)

    async def check_often() -> list[readiness.Report]:
        checks = readiness.ReadinessChecks(app.state.delivery_worker)
        return [*await asyncio.gather(checks.run(), checks.run()), await checks.run()]

    assert [report.checks["database"] for report in asyncio.run(check_often())] == ["ok"] * 3
    assert len(calls) == 1


@pytest.mark.usefixtures("worker")
def test_is_degraded_but_ready_without_the_channel_layer(client: TestClient, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(LostLayer)

    assert ready(client) == (
        200,
        {
            "status": "degraded",
            "checks": {"database": "ok", "channel_layer": "degraded", "delivery": "ok"},
            "warning": "channel_layer: ConnectionRefusedError",
        },
    )


@pytest.mark.usefixtures("worker")
def test_is_degraded_if_the_channel_layer_does_not_answer(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHANNEL_LAYERS = channel_layer(SilentLayer)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 0.1)

    code, body = ready(client)

    assert (code, body["status"], body["warning"]) == (200, "degraded", "channel_layer: no response within 0.1 s")


def test_without_a_worker_a_missing_channel_layer_does_not_make_it_degraded(client: TestClient, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(LostLayer)

    assert ready(client)[0] == 503


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("limit", "has_warning"), [(0.0, False), (60.0, True), (3600.0, False)])
def test_warns_about_an_old_email_but_stays_ready(
    client: TestClient, settings: Settings, limit: float, has_warning: bool
) -> None:
    settings.READY_MAX_QUEUE_AGE = limit
    submit_plain_text_email(address="ada@example.com", text="Hi")
    Email.objects.update(created_at=timezone.now() - timedelta(minutes=2))

    code, body = ready(client)

    assert (code, body["status"], "warning" in body) == (200, "ok", has_warning)
    assert body.get("warning", "queue: the oldest email has waited for").startswith("queue: the oldest email has waited for")


# With DELIVERY_WORKER=external


@pytest.fixture
def external(tmp_path: Path) -> readiness.ReadinessChecks:
    """Return the checks of a server whose emails other processes deliver."""
    return readiness.ReadinessChecks(DeliveryWorker(tmp_path, is_enabled=False))


@pytest.mark.usefixtures("shared_test_connection")
def test_is_not_ready_without_any_external_worker(external: readiness.ReadinessChecks) -> None:
    report = asyncio.run(external.run())

    assert (report.is_ready, report.checks["delivery"]) == (False, "no delivery worker is running")


@pytest.mark.usefixtures("shared_test_connection")
def test_is_ready_with_an_external_worker(external: readiness.ReadinessChecks) -> None:
    beat("worker on another machine", interval_seconds=5.0, now=timezone.now())

    assert asyncio.run(external.run()).is_ready


@pytest.mark.usefixtures("shared_test_connection")
def test_without_the_database_an_external_worker_is_unknown(
    external: readiness.ReadinessChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 0.0)

    assert asyncio.run(external.run()).checks["delivery"] == "unknown"


@pytest.mark.anyio
async def test_a_readiness_check_leaves_no_channel_behind(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(InMemoryChannelLayer)

    await ping_channel_layer()

    assert get_channel_layer().channels == {}


def test_is_live_while_other_parts_fail(client: TestClient, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(LostLayer)

    assert client.get("/api/health/live").status_code == 200
