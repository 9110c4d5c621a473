"""The lease keeper: renewals, checks of claims after the process was stopped, and takeovers."""

import errno
import math
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from uuid import UUID, uuid4

import anyio
import pytest
from django.db import OperationalError
from django.utils import timezone

from project.bridge.database.transactions import run_in_transaction
from project.delivery import lease_keeper as module
from project.delivery.claim import claim_emails
from project.delivery.heartbeat import beat, read_activity
from project.delivery.lease import LeaseTiming
from project.delivery.lease_keeper import LeaseKeeper
from project.delivery.liveness import hold_liveness_lock, read_sending
from project.emails.models import Email
from project.emails.submit import submit_plain_text_email
from tests.project.transports.fake_relay import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("shared_test_connection")]

TIMING = LeaseTiming(timedelta(seconds=3))


class KeeperOfOne:
    """A lease keeper whose worker has one email in flight."""

    def __init__(self, keeper: LeaseKeeper, name: str, folder: Path, email_id: UUID) -> None:
        self.keeper = keeper
        self.name = name
        self.folder = folder
        self.email_id = email_id

    async def may_start(self) -> bool:
        """Return whether the worker may send its email."""
        return await self.keeper.may_start(self.email_id)

    def was_stopped(self) -> None:
        """Act as if the process had been stopped for a long time."""
        self.keeper._renewed_at = -math.inf

    async def lose(self) -> None:
        """Let another worker claim the email."""
        await run_in_transaction(Email.objects.filter(id=self.email_id).update, claimed_by="other")


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[KeeperOfOne]:
    """Return the keeper of a worker that has claimed an email and renewed its lease."""
    email_id = await run_in_transaction(submit_plain_text_email, address="ada@example.com", text="Hi")
    with hold_liveness_lock(tmp_path) as lock:
        keeper = LeaseKeeper(lock, tmp_path, lambda: {email_id}, timing=TIMING)
        await run_in_transaction(claim_emails, lock.name, limit=1, now=timezone.now())
        await keeper.sweep()
        yield KeeperOfOne(keeper, lock.name, tmp_path, email_id)


def fail(*_args: object, **_kwargs: object) -> NoReturn:
    """Raise the error that occurs when the database is unavailable."""
    raise OperationalError("unavailable")


async def beats_of(name: str) -> int | None:
    """Return the heartbeat of a worker."""
    return (await run_in_transaction(read_activity))[name].beats


async def test_a_worker_that_was_stopped_does_not_send_an_email_that_it_has_lost(one: KeeperOfOne) -> None:
    await one.lose()
    one.was_stopped()

    assert not await one.may_start()


async def test_a_worker_that_was_stopped_sends_an_email_that_it_still_holds(one: KeeperOfOne) -> None:
    one.was_stopped()

    assert await one.may_start()


async def test_asks_the_database_only_after_a_gap(one: KeeperOfOne, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "renew_leases", fail)

    assert await one.may_start()


async def test_sends_an_email_that_it_lost_and_claimed_again(one: KeeperOfOne) -> None:
    await one.lose()
    one.was_stopped()
    before = await one.may_start()

    one.keeper.claimed([one.email_id])

    assert (before, await one.may_start()) == (False, True)


async def test_sends_nothing_while_its_claims_cannot_be_checked(
    one: KeeperOfOne, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "VERIFY_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "renew_leases", fail)
    one.was_stopped()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.may_start)
        await until(lambda: "Sending waits for the database: OperationalError" in caplog.text)
        tasks.cancel_scope.cancel()

    monkeypatch.undo()
    assert await one.may_start()
    assert caplog.text.count("Sending waits") == 1


def test_the_time_while_the_machine_is_suspended_counts() -> None:
    assert module.CLOCK == time.CLOCK_BOOTTIME


@pytest.mark.parametrize("is_progressing", [True, False])
async def test_beats_and_renews_only_while_the_delivery_loop_progresses(one: KeeperOfOne, is_progressing: bool) -> None:
    before, asked = await beats_of(one.name), list[bool]()

    def progress() -> bool:
        asked.append(True)
        return is_progressing

    async with one.keeper.running(is_progressing=progress):
        await until(lambda: len(asked) >= 3)

    assert (await beats_of(one.name) != before) is is_progressing


@pytest.mark.parametrize("is_beating", [False, True])
async def test_takes_over_expired_emails_only_from_a_silent_worker(one: KeeperOfOne, is_beating: bool) -> None:
    other = await run_in_transaction(submit_plain_text_email, address="ada@example.com", text="Hi")
    await run_in_transaction(claim_emails, "other", limit=1, now=timezone.now() - timedelta(hours=1))

    for _ in range(10):
        if is_beating:
            await run_in_transaction(beat, "other", interval_seconds=1.0, now=timezone.now())
        await anyio.sleep(TIMING.renewal_seconds)
        await one.keeper.sweep()

    claimed_by = await run_in_transaction(lambda: Email.objects.get(id=other).claimed_by)
    assert claimed_by == ("other" if is_beating else "")


async def test_stores_which_emails_are_being_sent(one: KeeperOfOne) -> None:
    first, second = uuid4(), uuid4()
    one.keeper.started(first)
    one.keeper.started(second)
    one.keeper.ended(first)

    assert read_sending(one.name, one.folder) == {second}


async def test_sends_even_if_the_disk_is_full(
    one: KeeperOfOne, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_args: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    one.keeper.started(one.email_id)

    assert "The emails being sent could not be stored" in caplog.text
