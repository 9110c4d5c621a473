"""The engine in a process beside the server's, without either. tests/servers/test_apart.py has the whole of it."""

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from project.bridge.processes.supervised_process import ControlPipe
from project.delivery import worker_process
from project.delivery.worker import DeliveryWorker
from project.delivery.worker_process import WorkerProcess, publishing_counts
from project.emails.status import Status
from project.events.log import email_queued, events_committed
from project.metrics.counters import EventCounts, events_counted
from tests.processes import PATIENCE, wait_for
from tests.project.delivery.test_worker import accept, statuses

pytestmark = pytest.mark.anyio

GRACE = 10.0
BOUNCED = {"status": "bounced", "smtp_code": "550"}


def bounces() -> float:
    """How many this process counted."""
    return REGISTRY.get_sample_value("mailrail_failures_total", BOUNCED) or 0.0


async def test_wakes_the_other_process_and_hears_and_counts_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", [sys.executable, "-m", "tests.bridge.processes.child_processes", "counting"])
    worker, told, before = WorkerProcess(tmp_path), asyncio.Event(), bounces()
    with events_committed.subscribed(told.set):
        async with worker.running(grace=GRACE):
            await asyncio.to_thread(wait_for, lambda: worker.is_healthy, "it runs")
            await asyncio.to_thread(email_queued.send)

            async with asyncio.timeout(PATIENCE):
                await told.wait()

    assert bounces() == before + 1
    assert not worker.is_healthy


async def test_leaves_a_mail_to_the_other_process_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", [sys.executable, "-m", "tests.bridge.processes.child_processes", "counting"])
    worker = WorkerProcess(tmp_path / "workers")
    async with worker.running(grace=GRACE):
        await worker.wake_or_deliver()

    assert not worker.folder.exists()


async def test_what_is_counted_at_once_is_told_together_and_nothing_is_left_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "PUBLISH_INTERVAL_SECONDS", 3600.0)
    ours, theirs = socket.socketpair()
    server, beside = await ControlPipe.open(ours), await ControlPipe.open(theirs)
    async with publishing_counts(beside):
        events_counted.send(EventCounts({"email.sending": 1}, [], []))
        first = await anext(server.lines())
        for seconds in (0.5, 1.5):
            events_counted.send(EventCounts({"email.sent": 2, "email.bounced": 1}, [("bounced", 550)], [seconds]))
    beside.finish()

    last = [line async for line in server.lines()]

    assert json.loads(first) == [{"email.sending": 1}, [], []]
    assert [json.loads(line) for line in last] == [
        [{"email.sent": 4, "email.bounced": 2}, [["bounced", 550], ["bounced", 550]], [0.5, 1.5]]
    ]
    server.close()
    beside.close()


# Where another process delivers


@pytest.mark.usefixtures("lent")
async def test_an_engine_that_does_not_deliver_is_healthy_and_leaves_all_to_others(tmp_path: Path) -> None:
    worker = DeliveryWorker(tmp_path / "workers", is_enabled=False)
    await accept()

    async with worker.running(grace=GRACE):
        await worker.wake_or_deliver()
        is_healthy = worker.is_healthy

    assert (is_healthy, await statuses()) == (True, [(Status.QUEUED, 0)])
    assert not worker.folder.exists()


@pytest.mark.usefixtures("lent")
async def test_an_engine_that_does_not_deliver_does_so_with_no_lifespan_either(tmp_path: Path) -> None:
    worker = DeliveryWorker(tmp_path / "workers", is_enabled=False)
    await accept()

    await worker.wake_or_deliver()

    assert await statuses() == [(Status.QUEUED, 0)]
