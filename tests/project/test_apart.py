"""The engine in a process beside the server's, without either. tests/servers/test_apart.py has the whole of it."""

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from project.bridge.companion import Link
from project.outbox import apart, measures
from project.outbox.apart import EngineApart, telling
from project.outbox.engine import Engine
from project.outbox.events import committed, queued
from project.outbox.measures import Counts
from project.outbox.states import Status
from tests.processes import PATIENCE, wait_for
from tests.project.test_engine import accept, statuses

pytestmark = pytest.mark.anyio

GRACE = 10.0
BOUNCED = {"status": "bounced", "smtp_code": "550"}


def bounces() -> float:
    """How many this process counted."""
    return REGISTRY.get_sample_value("mailrail_failures_total", BOUNCED) or 0.0


async def test_wakes_the_other_process_and_hears_and_counts_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "COMMAND", [sys.executable, "-m", "tests.bridge.companions", "counting"])
    engine, told, before = EngineApart(tmp_path), asyncio.Event(), bounces()
    with committed.listening(told.set):
        async with engine.running(grace=GRACE):
            await asyncio.to_thread(wait_for, lambda: engine.healthy, "it runs")
            await asyncio.to_thread(queued.tell)

            async with asyncio.timeout(PATIENCE):
                await told.wait()

    assert bounces() == before + 1
    assert not engine.healthy


async def test_leaves_a_mail_to_the_other_process_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "COMMAND", [sys.executable, "-m", "tests.bridge.companions", "counting"])
    engine = EngineApart(tmp_path / "engines")
    async with engine.running(grace=GRACE):
        await engine.deliver_soon()

    assert not engine.folder.exists()


async def test_what_is_counted_at_once_is_told_together_and_nothing_is_left_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "AT_MOST_EVERY", 3600.0)
    ours, theirs = socket.socketpair()
    server, beside = await Link.on(ours), await Link.on(theirs)
    async with telling(beside):
        measures.counted.tell(Counts({"email.sending": 1}, [], []))
        first = await anext(server.lines())
        for seconds in (0.5, 1.5):
            measures.counted.tell(Counts({"email.sent": 2, "email.bounced": 1}, [("bounced", 550)], [seconds]))
    beside.end()

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
    engine = Engine(tmp_path / "engines", delivers=False)
    await accept()

    async with engine.running(grace=GRACE):
        await engine.deliver_soon()
        healthy = engine.healthy

    assert (healthy, await statuses()) == (True, [(Status.QUEUED, 0)])
    assert not engine.folder.exists()


@pytest.mark.usefixtures("lent")
async def test_an_engine_that_does_not_deliver_does_so_with_no_lifespan_either(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "engines", delivers=False)
    await accept()

    await engine.deliver_soon()

    assert await statuses() == [(Status.QUEUED, 0)]
