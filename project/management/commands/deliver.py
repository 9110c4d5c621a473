"""`python manage.py deliver [--drain]`: the engine as a process of its own."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from project.bridge import database
from project.bridge.companion import beside_the_server
from project.bridge.hints import passing_on
from project.checks import TRANSPORT
from project.outbox.apart import telling
from project.outbox.engine import LOOK_EVERY, Engine
from project.outbox.events import EVENTS, committed

ALONE = 5.0  # seconds for what is in hand once the server was killed: the next one may wait for it
LOOK_OFTEN = 1.0  # seconds: without REDIS_URL nothing wakes it when another process accepts a mail


class Command(BaseCommand):
    """Delivers until SIGTERM or Ctrl-C."""

    help = "Deliver what is queued, in a process of its own. The servers beside it may have DELIVER=false."
    requires_system_checks = (TRANSPORT,)  # `prepare` and `check` run all of them

    def add_arguments(self, parser: CommandParser) -> None:
        """Until when."""
        until = parser.add_mutually_exclusive_group()
        until.add_argument("--drain", action="store_true", help="deliver what is due now, and end")
        until.add_argument("--companion", action="store_true", help="for the server that starts this: DELIVER=apart")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the engine, on uvloop where there is one."""
        deliver = _drain if options["drain"] else _accompany if options["companion"] else _deliver
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_closing(deliver()))


async def _closing(delivery: Coroutine[Any, Any, None]) -> None:
    try:
        await delivery
    finally:
        database.close()


async def _drain() -> None:
    async with passing_on(committed, topic=EVENTS):
        await _engine(look_every=LOOK_OFTEN).deliver_soon()


async def _deliver() -> None:
    async with passing_on(committed, topic=EVENTS):
        await _deliver_until_told(_engine(look_every=LOOK_OFTEN))


async def _accompany() -> None:
    """Deliver until the server ends this, or is gone. It passes on what it is told, so this gives no hints of its own."""
    engine = _engine(look_every=LOOK_EVERY)
    grace = settings.SHUTDOWN_GRACE
    async with beside_the_server() as it, telling(it), engine.running(grace=grace), it.beating(lambda: engine.healthy):
        async for _ in it.lines():
            engine.wake()
        if not it.said_end:
            engine.hurry(ALONE)


def _engine(*, look_every: float) -> Engine:
    return Engine(settings.ENV.data_folder / "engines", look_every=look_every)


async def _deliver_until_told(engine: Engine) -> None:
    ended = asyncio.Event()
    numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    for number in numbers - ({signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()):  # under nohup
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with engine.running(grace=settings.SHUTDOWN_GRACE):
        await ended.wait()


def _loop_factory() -> Any:
    try:
        import uvloop  # it has no build for Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
