"""Hostile and large requests do not stop the event loop: other tasks go on while a request is read, validated and rejected."""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from fastapi_app.json_body import MAX_VALUES
from project.api_keys.keys import create_key
from project.asgi import application
from project.bridge.server.interpreter_tuning import GC_THRESHOLDS, GIL_SWITCH_INTERVAL_SECONDS
from project.delivery.worker import DeliveryWorker

EMAIL = '"from": "shop@example.com", "to": "ada@example.com", "text": "Hi"'
FIELDS = ",".join(f'"{number}":1' for number in range(100_000))
NAMES = ",".join(f'"bad name {number}":"x"' for number in range(100_000))
LINE_END = r"\n"
BAD_ATTACHMENT, LONG_NUMBER = '{"a":1,"b":2},', f"{'9' * 99},"
UNKNOWN_FIELDS = "{" + ",".join(f'"{number}":1' for number in range(80)) + "},"
HOSTILE = {
    "empty lists": f"[{'[],' * 4_000_000}[]]",
    "unknown fields": f"{{{FIELDS}}}",
    "bad header names": f'{{{EMAIL}, "headers": {{{NAMES}}}}}',
    "bad recipients": f'{{{EMAIL}, "cc": [{"1," * (MAX_VALUES - 100)}1]}}',
    "bad attachments": f'{{{EMAIL}, "attachments": [{BAD_ATTACHMENT * 40_000}1]}}',
    "unknown fields of attachments": f'{{{EMAIL}, "attachments": [{UNKNOWN_FIELDS * 900}1]}}',
    "variables": f'{{{EMAIL}, "template": "a", "variables": {{"a": [{"1," * 120_000}1]}}}}',
    "numbers": f'{{{EMAIL}, "a": [{LONG_NUMBER * 100_000}1]}}',
    "a long name": f'{{{EMAIL}, "{"k" * 3_000_000}": 1}}',
    "a long name of escapes": f'{{{EMAIL}, "{LINE_END * 6_000_000}": 1}}',
    "white space": f'{{{EMAIL}, "a": {" " * 13_000_000}1}}',
}
LARGE: dict[str, dict[str, Any]] = {
    "line ends": {"html": "\n" * 6_500_000},
    "escapes": {"text": ".\n" * 4_500_000},
    "content ids": {"html": " cid:a" * 2_000_000, "attachments": [{"filename": "a", "content": "QQ==", "content_id": "b"}]},
}
BATCH = {
    "emails": [
        {"from": "shop@example.com", "to": [f"ada{number}@example{index}.com" for number in range(50)], "text": "Hi"}
        for index in range(300)
    ]
}


@pytest.fixture
def key(shared_test_connection: None) -> str:
    """Return an API key."""
    return create_key("shop", scopes=["emails:send"])


@pytest.fixture(autouse=True)
def _tune_like_the_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    async def deliver_later(_worker: DeliveryWorker) -> None:
        pass

    monkeypatch.setattr(DeliveryWorker, "wake_or_deliver", deliver_later)
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(GIL_SWITCH_INTERVAL_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


async def post(path: str, body: bytes, key: str) -> tuple[httpx2.Response, float]:
    """Send a request, and return the response and the longest part of its time in which no other task ran, from 0 to 1."""
    transport = httpx2.ASGITransport(app=application)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers, timeout=None) as client:
        await client.post(path, json={})  # the first request of an application builds its routes
        gaps = list[float]()
        ticking = asyncio.create_task(tick(gaps))
        started = time.perf_counter()
        response = await client.post(path, content=body)
        seconds = time.perf_counter() - started
        ticking.cancel()
    return response, max(gaps, default=seconds) / max(seconds, MIN_SECONDS)


MAX_PAUSE = 0.25  # of the time of the request
MIN_SECONDS = 0.6  # in shorter requests, the longest pause says little


async def tick(gaps: list[float]) -> None:
    """Append the time between two runs of this task, again and again."""
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now


@pytest.mark.anyio
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_request_is_rejected_beside_the_event_loop(key: str, name: str) -> None:
    response, longest = await post("/api/emails", HOSTILE[name].encode(), key)

    assert response.status_code == 422
    assert len(response.json()["detail"]) <= 100
    assert len(response.content) < 20_000
    assert longest < MAX_PAUSE


@pytest.mark.anyio
@pytest.mark.parametrize("name", LARGE)
async def test_a_large_email_is_accepted_beside_the_event_loop(key: str, name: str) -> None:
    email = {"from": "shop@example.com", "to": "ada@example.com", **LARGE[name]}

    response, longest = await post("/api/emails", json.dumps(email).encode(), key)

    assert response.status_code == 202
    assert longest < MAX_PAUSE


@pytest.mark.anyio
async def test_a_large_batch_is_accepted_beside_the_event_loop(key: str) -> None:
    response, longest = await post("/api/emails/batch", json.dumps(BATCH).encode(), key)

    assert (response.status_code, len(response.json()["data"])) == (202, 300)
    assert longest < MAX_PAUSE
