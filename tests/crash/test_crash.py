"""No accepted email is lost when real processes are killed with `kill -9` at random moments. The SMTP server is real, too.

The long run is `CRASH_EMAILS=2000 CRASH_KILLS=10 pytest tests/crash -rP`. It also prints the number of duplicates. CI runs a
short run. `CRASH_SEED` selects other moments.
"""

import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from project.config.email_url import DEFAULT_CONNECTIONS
from tests.conftest import StartServer, prepare_installation
from tests.crash.conftest import StartDeliver, StartLoad
from tests.crash.load_generator import LoadGenerator, arrived, count_to, has_one_message_id_each, number_of
from tests.postgresql import cluster, program
from tests.processes import Server
from tests.smtp import ACCEPT, ACCEPT_AND_DROP, DROP, NO_SUCH_USER, STALL, Sink

EMAILS = int(os.environ.get("CRASH_EMAILS", "300"))
KILLS = int(os.environ.get("CRASH_KILLS", "3"))
MAX_DUPLICATES = KILLS * DEFAULT_CONNECTIONS  # a kill may duplicate the emails that are in flight
RETRY_DELAYS = ",".join(["1s"] * (KILLS + 3))  # each crash of the relay may use up one attempt of an email

pytestmark = pytest.mark.timeout(max(300, EMAILS))  # one second per email in a long run


@dataclass(frozen=True)
class Misbehavior:
    """The relay's reply to the first `attempts` attempts to send an email, and the email's final status."""

    reply: str
    final_status: str = "sent"
    attempts: float = 1
    at_rcpt: bool = False


MISBEHAVIORS = (
    Misbehavior(ACCEPT),
    Misbehavior(NO_SUCH_USER, at_rcpt=True, attempts=math.inf, final_status="bounced"),
    Misbehavior("550 5.7.1 This looks like spam", attempts=math.inf, final_status="failed"),
    Misbehavior("451 4.7.1 Greylisted", at_rcpt=True, attempts=2),
    Misbehavior("451 4.3.0 Not now", attempts=2),
    Misbehavior("451 4.3.0 Never", attempts=math.inf, final_status="failed"),
    Misbehavior(DROP, attempts=2),
    Misbehavior(DROP, attempts=math.inf, final_status="failed"),
    Misbehavior(ACCEPT_AND_DROP),
    Misbehavior(STALL),
)


@pytest.fixture
def moments() -> Iterator[int]:
    """Return after how many emails to kill a process: random numbers in ascending order, up to the whole run."""
    rng = random.Random(os.environ.get("CRASH_SEED", "42"))  # noqa: S311  # not for security
    return iter([int((kill + rng.random()) * EMAILS / KILLS) for kill in range(KILLS)])


@pytest.mark.pitfall(3, 26, 28)
@pytest.mark.parametrize("delivery_worker", ["in_process", "subprocess"])
def test_a_killed_server_loses_no_email_and_duplicates_only_those_in_flight(
    start: StartServer, load: StartLoad, sink: Sink, moments: Iterator[int], delivery_worker: str
) -> None:
    generator = load(EMAILS)

    _kill_the_server(lambda: start(EMAIL_URL=sink.url, DELIVERY_WORKER=delivery_worker), generator, sink, moments)

    _assert_all_arrived(generator, sink)


@pytest.mark.skipif(program("initdb") is None, reason="needs PostgreSQL (Debian: postgresql)")
def test_a_killed_server_loses_no_email_on_postgresql(
    start: StartServer, load: StartLoad, sink: Sink, moments: Iterator[int], data: Path
) -> None:
    with cluster() as postgresql:
        [key] = prepare_installation({"DATA_DIR": str(data), "DATABASE_URL": postgresql.url})
        generator = load(EMAILS, key)

        server = _kill_the_server(lambda: start(EMAIL_URL=sink.url, DATABASE_URL=postgresql.url), generator, sink, moments)

        _assert_all_arrived(generator, sink)
        server.terminate()


def test_each_email_gets_the_right_status_from_a_misbehaving_relay(
    start: StartServer, load: StartLoad, sink: Sink, moments: Iterator[int]
) -> None:
    sink.at_rcpt = lambda address, attempt: _reply(address, attempt, at_rcpt=True)
    sink.at_data = lambda address, attempt: _reply(address, attempt, at_rcpt=False)
    generator = load(EMAILS)

    _kill_the_server(
        lambda: start(EMAIL_URL=f"{sink.url}?data_done_timeout=3", RETRY_DELAYS=RETRY_DELAYS), generator, sink, moments
    )
    emails = generator.finish(sink)

    statuses = {number_of(email["to"][0]): email["status"] for email in emails}
    assert statuses == {number: _misbehavior(number).final_status for number in statuses}
    assert arrived(sink) == {email["id"] for email in emails if email["status"] == "sent"}
    dropped = sum(_misbehavior(number).reply == ACCEPT_AND_DROP for number in statuses)
    print(f"{sink.duplicates} duplicates; the relay dropped the connection after accepting {dropped} emails")  # noqa: T201  # shown by a long run
    assert abs(sink.duplicates - dropped) <= MAX_DUPLICATES
    assert has_one_message_id_each(sink)


@pytest.mark.pitfall(3)
def test_a_killed_relay_loses_no_email(start: StartServer, load: StartLoad, sink: Sink, moments: Iterator[int]) -> None:
    sink.delay = 0.02  # so that emails are in flight when the relay crashes
    server = start(EMAIL_URL=sink.url, RETRY_DELAYS=RETRY_DELAYS)
    generator = load(EMAILS)
    generator.use(server)

    for kill, moment in enumerate(moments):
        count_to(moment, sink.attempts.total, "emails are sent to the relay")
        outages = server.log.count("The relay is unavailable")
        sink.crash()
        if kill % 2:  # in every other round, the outage lasts until the worker notices it
            server.wait_for_log("The relay is unavailable", times=outages + 1)
        sink.listen()

    _assert_all_arrived(generator, sink)


@pytest.mark.pitfall(3)
def test_a_killed_deliver_process_loses_no_email(
    start: StartServer, deliver: StartDeliver, load: StartLoad, sink: Sink, moments: Iterator[int]
) -> None:
    process = deliver(EMAIL_URL=sink.url)
    generator = load(EMAILS)
    generator.use(start(EMAIL_URL=sink.url, DELIVERY_WORKER="external"))

    for moment in moments:
        count_to(moment, sink.attempts.total, "emails are sent to the relay")
        process.kill()
        process = deliver(EMAIL_URL=sink.url)

    _assert_all_arrived(generator, sink)


@pytest.mark.pitfall(3)
def test_two_deliver_processes_never_send_the_same_email(
    start: StartServer, deliver: StartDeliver, load: StartLoad, sink: Sink
) -> None:
    processes = [deliver(name, EMAIL_URL=sink.url) for name in ("first", "second")]
    generator = load(sys.maxsize)
    generator.use(start(EMAIL_URL=sink.url, DELIVERY_WORKER="external"))

    count_to(EMAILS, generator.count, "emails are accepted")
    for process in processes:
        process.wait_for_log("Email sent successfully")
    generator.stop()
    emails = generator.finish(sink)

    assert {(email["status"], email["attempts"]) for email in emails} == {("sent", 1)}
    assert sink.duplicates == 0


def _kill_the_server(start: Callable[[], Server], load: LoadGenerator, sink: Sink, moments: Iterator[int]) -> Server:
    """Kill the server at each moment, counted in accepted emails and in sent emails alternately. Return the last server."""
    server = start()
    load.use(server)
    for kill, moment in enumerate(moments):
        count_to(moment, sink.attempts.total if kill % 2 else load.count, "emails are accepted or sent")
        load.kill(server)
        server = start()
        load.use(server)
    return server


def _assert_all_arrived(load: LoadGenerator, sink: Sink) -> None:
    emails = load.finish(sink)
    assert {email["status"] for email in emails} == {"sent"}
    assert arrived(sink) == {email["id"] for email in emails}
    print(f"{sink.duplicates} duplicates of {len(emails)} emails, with {KILLS} kills")  # noqa: T201  # shown by a long run
    assert sink.duplicates <= MAX_DUPLICATES
    assert has_one_message_id_each(sink)


def _misbehavior(number: int) -> Misbehavior:
    return MISBEHAVIORS[number % len(MISBEHAVIORS)]


def _reply(address: str, attempt: int, *, at_rcpt: bool) -> str:
    misbehavior = _misbehavior(number_of(address))
    applies = misbehavior.at_rcpt == at_rcpt and attempt <= misbehavior.attempts
    return misbehavior.reply if applies else ACCEPT
