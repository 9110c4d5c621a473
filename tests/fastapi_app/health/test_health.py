"""Health: what is asked by those who run it."""

import asyncio
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db import OperationalError
from pytest_django import Settings
from starlette.testclient import TestClient

from fastapi_app.health import checks
from project.asgi import application
from project.bridge.notifications.cross_process import ping_channel_layer

NOT_RUNNING = "not running"


class LostLayer(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """A channel layer whose server is gone."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Fail as redis-py does."""
        raise ConnectionRefusedError("redis.internal:6379")


class SilentLayer(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """A channel layer that says nothing any more."""

    async def receive(self, channel: str) -> dict[str, Any]:
        """Hang."""
        await asyncio.Event().wait()
        return {}


def channel_layer(layer: type) -> dict[str, dict[str, str]]:
    """The setting."""
    return {"default": {"BACKEND": f"{layer.__module__}.{layer.__qualname__}"}}


def test_is_alive_while_it_can_answer(client: TestClient) -> None:
    answer = client.get("/api/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db(transaction=True)
def test_is_ready_while_its_lifespan_runs() -> None:
    with TestClient(application) as client:
        answer = client.get("/api/health/ready")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "checks": {"database": "ok", "channel_layer": "ok", "engine": "ok"}}


def test_is_not_ready_without_its_engine(client: TestClient) -> None:
    answer = client.get("/api/health/ready")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "checks": {"database": "ok", "channel_layer": "ok", "engine": NOT_RUNNING},
    }


def test_names_the_database_when_it_fails(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise OperationalError("no route to db.internal")

    monkeypatch.setattr(checks, "ping_database", unreachable)

    found = client.get("/api/health/ready").json()["checks"]

    assert found == {"database": "OperationalError", "channel_layer": "ok", "engine": NOT_RUNNING}


def test_names_the_channel_layer_when_it_fails(client: TestClient, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(LostLayer)

    found = client.get("/api/health/ready").json()["checks"]

    assert found == {"database": "ok", "channel_layer": "ConnectionRefusedError", "engine": NOT_RUNNING}


def test_names_what_does_not_answer_in_time(client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHANNEL_LAYERS = channel_layer(SilentLayer)
    monkeypatch.setattr(checks, "CHECK_TIMEOUT_SECONDS", 0.1)

    found = client.get("/api/health/ready").json()["checks"]

    assert found["channel_layer"] == "no answer within 0.1 s"


@pytest.mark.anyio
async def test_asking_for_readiness_leaves_no_channel_behind(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(InMemoryChannelLayer)

    await ping_channel_layer()

    assert get_channel_layer().channels == {}


def test_is_alive_whatever_fails(client: TestClient, settings: Settings) -> None:
    settings.CHANNEL_LAYERS = channel_layer(LostLayer)

    assert client.get("/api/health/live").status_code == 200
