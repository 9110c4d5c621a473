"""What must work for the service to be of use."""

import asyncio
from collections.abc import Awaitable, Callable

from project.bridge.database.transactions import ping_database, run_in_transaction
from project.bridge.notifications.cross_process import ping_channel_layer
from project.delivery.worker import DeliveryWorker

CHECK_TIMEOUT_SECONDS = 2.0  # seconds for each


class CheckFailed(Exception):
    """A check's finding, for people."""


async def run_health_checks(worker: DeliveryWorker) -> dict[str, str]:
    """Each part's state: "ok", or what is wrong with it."""
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "database": lambda: run_in_transaction(ping_database),
        "channel_layer": ping_channel_layer,
        "engine": lambda: _check_delivery(worker),
    }
    found = await asyncio.gather(*(_run_check(check()) for check in checks.values()))
    return dict(zip(checks, found, strict=True))


async def _run_check(check: Awaitable[None]) -> str:
    try:
        await asyncio.wait_for(check, CHECK_TIMEOUT_SECONDS)
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
    except CheckFailed as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
        return type(error).__name__  # not its text: the answer is public, and may name hosts
    return "ok"


async def _check_delivery(worker: DeliveryWorker) -> None:
    if not worker.is_healthy:
        raise CheckFailed("not running")
