"""Retention: the pruner deletes rows that are older than their retention period."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from project.audit.models import AuditAction, AuditEvent
from project.bridge.database.transactions import run_in_transaction
from project.retention import expired_data, pruner
from tests.project.delivery.test_worker import wait_until


@pytest.mark.parametrize(("days", "remaining"), [(400, ["new"]), (0, ["old", "older", "new"])])
@pytest.mark.anyio
async def test_deletes_audit_entries_that_are_past_their_retention_period(
    days: int, remaining: list[str], shared_test_connection: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expired_data, "BATCH_SIZE", 1)
    settings.AUDIT_RETENTION_DAYS = days
    await run_in_transaction(_three_events)

    await pruner.prune()

    assert await run_in_transaction(_names) == remaining


def _three_events() -> None:
    for name, age in {"old": 401, "older": 500, "new": 399}.items():
        AuditEvent.objects.create(action=AuditAction.REJECTED, actor=name, created_at=timezone.now() - timedelta(days=age))


def _names() -> list[str]:
    return list(AuditEvent.objects.order_by("pk").values_list("actor", flat=True))


@pytest.mark.anyio
async def test_prunes_when_the_lifespan_starts(shared_test_connection: None, settings: Settings) -> None:
    settings.AUDIT_RETENTION_DAYS = 400
    await run_in_transaction(_three_events)

    async with pruner.RetentionPruner().running():
        await wait_until(_only_the_new_one_is_left)


async def _only_the_new_one_is_left() -> bool:
    return await run_in_transaction(_names) == ["new"]


@pytest.mark.anyio
async def test_an_error_of_one_kind_does_not_keep_the_others(
    shared_test_connection: None, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AUDIT_RETENTION_DAYS = 400
    settings.KEEP_BODIES = "invalid"  # fails when it is subtracted from the time
    await run_in_transaction(_three_events)

    await pruner.prune()

    assert await run_in_transaction(_names) == ["new"]
    assert "The bodies of emails that are past their retention period could not be deleted" in caplog.text
