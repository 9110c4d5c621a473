"""Readiness checks: the database, the channel layer and delivery."""

import asyncio
from collections.abc import Awaitable, Callable

from project.bridge.database.transactions import ping_database, run_in_transaction
from project.bridge.notifications.cross_process import ping_channel_layer
from project.delivery.worker import DeliveryWorker

CHECK_TIMEOUT_SECONDS = 2.0  # for each check


class CheckFailed(Exception):
    """A failed check, with a human-readable message."""


async def run_health_checks(worker: DeliveryWorker) -> dict[str, str]:
    """Run all checks at the same time. Return "ok" or a message for each check."""
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "database": lambda: run_in_transaction(ping_database),
        "channel_layer": ping_channel_layer,
        "delivery": lambda: _check_delivery(worker),
    }
    results = await asyncio.gather(*(_run_check(check()) for check in checks.values()))
    return dict(zip(checks, results, strict=True))


async def _run_check(check: Awaitable[None]) -> str:
    try:
        await asyncio.wait_for(check, CHECK_TIMEOUT_SECONDS)
    except TimeoutError:
        return f"no response within {CHECK_TIMEOUT_SECONDS:g} s"
    except CheckFailed as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # any error is the result of the check
        return type(error).__name__  # without the error's text, because the response is public and the text may name hosts
    return "ok"


async def _check_delivery(worker: DeliveryWorker) -> None:
    if not worker.is_healthy:
        raise CheckFailed("not running")
