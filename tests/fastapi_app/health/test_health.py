"""The health routes: liveness and readiness."""

import asyncio
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db import OperationalError
from pytest_django import Settings
from starlette.testclient import TestClient

from fastapi_app.health import readiness
from project.asgi import application
from project.bridge.notifications.cross_process import ping_channel_layer

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


def test_is_live_while_the_process_responds(client: TestClient) -> None:
    answer = client.get("/api/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


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


def test_reports_a_failing_database(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise OperationalError("no route to db.internal")

    monkeypatch.setattr(readiness, "ping_database", unreachable)

    reported = client.get("/api/health/ready").json()["checks"]

    assert reported == {"database": "OperationalError", "channel_layer": "ok", "delivery": NOT_RUNNING}


def test_reports_a_failing_channel_layer(client: TestClient, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(LostLayer)

    reported = client.get("/api/health/ready").json()["checks"]

    assert reported == {"database": "ok", "channel_layer": "ConnectionRefusedError", "delivery": NOT_RUNNING}


def test_reports_a_check_that_times_out(client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = channel_layer(SilentLayer)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 0.1)

    reported = client.get("/api/health/ready").json()["checks"]

    assert reported["channel_layer"] == "no response within 0.1 s"


@pytest.mark.anyio
async def test_a_readiness_check_leaves_no_channel_behind(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(InMemoryChannelLayer)

    await ping_channel_layer()

    assert get_channel_layer().channels == {}


def test_is_live_while_other_parts_fail(client: TestClient, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(LostLayer)

    assert client.get("/api/health/live").status_code == 200
