"""An accepted mail is never lost, whatever is killed: real processes, a real SMTP server, and `kill -9` at random moments.

`CRASH_MAILS=2000 CRASH_KILLS=10 pytest tests/crash -rP` is the long run, and tells how many doubles there were; CI has a
short one. `CRASH_SEED` chooses other moments.
"""

import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from project.config.email_url import DEFAULT_CONNECTIONS
from tests.conftest import PASSWORD, StartServer
from tests.crash.conftest import StartDeliver, StartLoad
from tests.crash.load_generator import LoadGenerator, arrived, count_to, has_one_message_id_each, number_of
from tests.postgresql import cluster, program
from tests.processes import BASE_ENV, ROOT, Server
from tests.smtp import DROP, NO_SUCH_USER, STALL, TAKE, TAKE_AND_DROP, Sink

MAILS = int(os.environ.get("CRASH_MAILS", "300"))
KILLS = int(os.environ.get("CRASH_KILLS", "3"))
IN_HAND = KILLS * DEFAULT_CONNECTIONS  # so many mails may be in a relay's hand when something dies
RETRY_DELAYS = ",".join(["1s"] * (KILLS + 3))  # each kill may cost a mail one of its tries

pytestmark = pytest.mark.timeout(max(300, MAILS))  # a long run takes long


@dataclass(frozen=True)
class Trouble:
    """What a relay does about the first `tries` of a mail, and how the mail ends."""

    answer: str
    end: str = "sent"
    tries: float = 1
    at_rcpt: bool = False


TROUBLES = (
    Trouble(TAKE),
    Trouble(NO_SUCH_USER, at_rcpt=True, tries=math.inf, end="bounced"),
    Trouble("550 5.7.1 This looks like spam", tries=math.inf, end="failed"),
    Trouble("451 4.7.1 Greylisted", at_rcpt=True, tries=2),
    Trouble("451 4.3.0 Not now", tries=2),
    Trouble("451 4.3.0 Never", tries=math.inf, end="failed"),
    Trouble(DROP, tries=2),
    Trouble(DROP, tries=math.inf, end="failed"),
    Trouble(TAKE_AND_DROP),
    Trouble(STALL),
)


@pytest.fixture
def moments() -> Iterator[int]:
    """When to kill: after so many mails. Random, and spread over the whole of a run."""
    dice = random.Random(os.environ.get("CRASH_SEED", "42"))  # noqa: S311  # no secret
    return iter([int((kill + dice.random()) * MAILS / KILLS) for kill in range(KILLS)])


@pytest.mark.pitfall(3, 26, 28)
@pytest.mark.parametrize("where", ["in_process", "subprocess"])
def test_a_killed_server_loses_no_accepted_mail_and_doubles_only_what_a_relay_has_in_hand(
    start: StartServer, load: StartLoad, sink: Sink, moments: Iterator[int], where: str
) -> None:
    sending = load(MAILS)

    _kill_the_server(lambda: start(EMAIL_URL=sink.url, DELIVERY_WORKER=where), sending, sink, moments)

    _assert_all_arrived(sending, sink)


@pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")
def test_a_killed_server_loses_no_accepted_mail_on_postgresql(
    start: StartServer, load: StartLoad, sink: Sink, moments: Iterator[int], data: Path
) -> None:
    with cluster() as postgresql:
        env = {**BASE_ENV, "DATA_DIR": str(data), "DATABASE_URL": postgresql.url, "ADMIN_PASSWORD": PASSWORD}
        subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env={**os.environ, **env}, check=True)
        sending = load(MAILS, DATABASE_URL=postgresql.url)

        server = _kill_the_server(lambda: start(EMAIL_URL=sink.url, DATABASE_URL=postgresql.url), sending, sink, moments)

        _assert_all_arrived(sending, sink)
        server.terminate()


def test_with_a_relay_that_misbehaves_each_mail_comes_to_the_end_it_should(
    start: StartServer, load: StartLoad, sink: Sink, moments: Iterator[int]
) -> None:
    sink.at_rcpt = lambda address, attempt: _answer(address, attempt, at_rcpt=True)
    sink.at_data = lambda address, attempt: _answer(address, attempt, at_rcpt=False)
    sending = load(MAILS)

    _kill_the_server(
        lambda: start(EMAIL_URL=f"{sink.url}?data_done_timeout=3", RETRY_DELAYS=RETRY_DELAYS), sending, sink, moments
    )
    emails = sending.finish(sink)

    ends = {number_of(email["to"][0]): email["status"] for email in emails}
    assert ends == {number: _trouble(number).end for number in ends}
    assert arrived(sink) == {email["id"] for email in emails if email["status"] == "sent"}
    hung_up = sum(_trouble(number).answer == TAKE_AND_DROP for number in ends)
    print(f"{sink.doubles} doubles; of {hung_up} mails the relay hung up after it had taken them")  # noqa: T201  # for a long run
    assert abs(sink.doubles - hung_up) <= IN_HAND
    assert has_one_message_id_each(sink)


@pytest.mark.pitfall(3)
def test_a_relay_that_is_killed_loses_no_mail(start: StartServer, load: StartLoad, sink: Sink, moments: Iterator[int]) -> None:
    sink.delay = 0.02  # so that it has mails in hand when it dies
    server = start(EMAIL_URL=sink.url, RETRY_DELAYS=RETRY_DELAYS)
    sending = load(MAILS)
    sending.use(server)

    for kill, moment in enumerate(moments):
        count_to(moment, sink.tries.total, "mails are given to the relay")
        noticed = server.log.count("The relay does not work")
        sink.die()
        if kill % 2:  # it stays away until that is noticed, else it is back at once
            server.wait_for_log("The relay does not work", times=noticed + 1)
        sink.listen()

    _assert_all_arrived(sending, sink)


@pytest.mark.pitfall(3)
def test_a_killed_deliver_process_loses_no_mail(
    start: StartServer, deliver: StartDeliver, load: StartLoad, sink: Sink, moments: Iterator[int]
) -> None:
    engine = deliver(EMAIL_URL=sink.url)
    sending = load(MAILS)
    sending.use(start(EMAIL_URL=sink.url, DELIVERY_WORKER="external"))

    for moment in moments:
        count_to(moment, sink.tries.total, "mails are given to the relay")
        engine.kill()
        engine = deliver(EMAIL_URL=sink.url)

    _assert_all_arrived(sending, sink)


@pytest.mark.pitfall(3)
def test_two_deliver_processes_never_send_the_same_mail(
    start: StartServer, deliver: StartDeliver, load: StartLoad, sink: Sink
) -> None:
    engines = [deliver(name, EMAIL_URL=sink.url) for name in ("one", "other")]
    sending = load(sys.maxsize)
    sending.use(start(EMAIL_URL=sink.url, DELIVERY_WORKER="external"))

    count_to(MAILS, sending.count, "mails are accepted")
    for engine in engines:
        engine.wait_for_log("Email sent successfully")
    sending.stop()
    emails = sending.finish(sink)

    assert {(email["status"], email["attempts"]) for email in emails} == {("sent", 1)}
    assert sink.doubles == 0


def _kill_the_server(start: Callable[[], Server], load: LoadGenerator, sink: Sink, moments: Iterator[int]) -> Server:
    """Kill it at each of the moments, now of accepting, now of delivering. Gives the last one, which lives."""
    server = start()
    load.use(server)
    for kill, moment in enumerate(moments):
        count_to(moment, sink.tries.total if kill % 2 else load.count, "mails came so far")
        load.kill(server)
        server = start()
        load.use(server)
    return server


def _assert_all_arrived(load: LoadGenerator, sink: Sink) -> None:
    emails = load.finish(sink)
    assert {email["status"] for email in emails} == {"sent"}
    assert arrived(sink) == {email["id"] for email in emails}
    print(f"{sink.doubles} doubles of {len(emails)} mails, with {KILLS} kills")  # noqa: T201  # for a long run
    assert sink.doubles <= IN_HAND
    assert has_one_message_id_each(sink)


def _trouble(number: int) -> Trouble:
    return TROUBLES[number % len(TROUBLES)]


def _answer(address: str, attempt: int, *, at_rcpt: bool) -> str:
    trouble = _trouble(number_of(address))
    return trouble.answer if trouble.at_rcpt == at_rcpt and attempt <= trouble.tries else TAKE
