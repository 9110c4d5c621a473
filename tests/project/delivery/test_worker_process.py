"""Managing the worker process and merging its metrics, without a server or a worker.

tests/servers/delivery/test_worker_process.py tests the server, the worker process and the worker together.
"""

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from project.bridge.processes.control_pipe import ControlPipe
from project.delivery import worker_process
from project.delivery.worker import DeliveryWorker
from project.delivery.worker_process import WorkerProcess, report_metrics
from project.emails.status import Status
from project.events.log import email_queued, events_committed
from project.metrics.counters import EventCounts, events_counted
from tests.processes import WAIT_TIMEOUT_SECONDS, wait_for
from tests.project.delivery.test_worker import queue_emails, statuses

pytestmark = pytest.mark.anyio

GRACE = 10.0
BOUNCED = {"status": "bounced", "smtp_code": "550"}


def bounces() -> float:
    """Return how many bounces this process has counted."""
    return REGISTRY.get_sample_value("mailrail_failures_total", BOUNCED) or 0.0


async def test_wakes_the_process_and_publishes_and_counts_its_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", [sys.executable, "-m", "tests.bridge.processes.child_processes", "counting"])
    worker, committed, before = WorkerProcess(tmp_path), asyncio.Event(), bounces()
    with events_committed.subscribed(committed.set):
        async with worker.running(grace=GRACE):
            await asyncio.to_thread(wait_for, lambda: worker.is_healthy, "it runs")
            await asyncio.to_thread(email_queued.send)

            async with asyncio.timeout(WAIT_TIMEOUT_SECONDS):
                await committed.wait()

    assert bounces() == before + 1
    assert not worker.is_healthy


async def test_leaves_emails_to_the_process_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", [sys.executable, "-m", "tests.bridge.processes.child_processes", "counting"])
    worker = WorkerProcess(tmp_path / "workers")
    async with worker.running(grace=GRACE):
        await worker.wake_or_deliver()

    assert not worker.folder.exists()


async def test_merges_the_counts_of_an_interval_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "PUBLISH_INTERVAL_SECONDS", 3600.0)
    server_end, child_end = socket.socketpair()
    server, child = await ControlPipe.open(server_end), await ControlPipe.open(child_end)
    async with report_metrics(child):
        events_counted.send(EventCounts({"email.sending": 1}, [], [], {}))
        first = await anext(server.lines())
        for seconds in (0.5, 1.5):
            types, reasons = {"email.sent": 2, "email.bounced": 1}, {"bad_address": 1}
            events_counted.send(EventCounts(types, [("bounced", 550)], [seconds], reasons))
    child.finish()

    last = [line async for line in server.lines()]

    assert json.loads(first) == [{"email.sending": 1}, [], [], {}]
    assert [json.loads(line) for line in last] == [
        [{"email.sent": 4, "email.bounced": 2}, [["bounced", 550], ["bounced", 550]], [0.5, 1.5], {"bad_address": 2}]
    ]
    server.close()
    child.close()


# A disabled worker: another process delivers


@pytest.mark.usefixtures("shared_test_connection")
async def test_a_disabled_worker_is_healthy_and_delivers_no_email(tmp_path: Path) -> None:
    worker = DeliveryWorker(tmp_path / "workers", is_enabled=False)
    await queue_emails()

    async with worker.running(grace=GRACE):
        await worker.wake_or_deliver()
        is_healthy = worker.is_healthy

    assert (is_healthy, await statuses()) == (True, [(Status.QUEUED, 0)])
    assert not worker.folder.exists()


@pytest.mark.usefixtures("shared_test_connection")
async def test_a_disabled_worker_delivers_no_email_without_a_lifespan(tmp_path: Path) -> None:
    worker = DeliveryWorker(tmp_path / "workers", is_enabled=False)
    await queue_emails()

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.QUEUED, 0)]
