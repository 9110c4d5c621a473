"""`python manage.py deliver [--drain]`: the engine as a process of its own."""

import asyncio
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from project.bridge import database
from project.bridge.hints import passing_on
from project.checks import TRANSPORT
from project.outbox.engine import Engine
from project.outbox.events import EVENTS, committed

LOOK_EVERY = 1.0  # seconds: without REDIS_URL nothing wakes it when another process accepts a mail


class Command(BaseCommand):
    """Delivers until SIGTERM or Ctrl-C."""

    help = "Deliver what is queued, in a process of its own. The servers beside it may have DELIVER=false."
    requires_system_checks = (TRANSPORT,)  # `prepare` and `check` run all of them

    def add_arguments(self, parser: CommandParser) -> None:
        """One."""
        parser.add_argument("--drain", action="store_true", help="deliver what is due now, and end")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the engine, on uvloop where there is one."""
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_deliver(drain=options["drain"]))


async def _deliver(*, drain: bool) -> None:
    engine = Engine(settings.ENV.data_folder / "engines", look_every=LOOK_EVERY)
    try:
        async with passing_on(committed, topic=EVENTS):
            if drain:
                await engine.deliver_soon()
            else:
                await _deliver_until_told(engine)
    finally:
        database.close()


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
