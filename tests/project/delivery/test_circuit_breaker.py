"""What an engine does about a relay that does not work."""

from datetime import timedelta

import pytest

from project.delivery.circuit_breaker import CircuitBreaker, save_outage
from project.delivery.loop import update_breaker
from project.delivery.models import RelayOutage
from project.transports.result import SendResult
from project.transports.smtp.error_classes import FailureKind
from tests.project.conftest import NOW, WORKER

NO_ROUTE = SendResult("SMTPConnectError: no route", FailureKind.RELAY_UNAVAILABLE)
SECOND = timedelta(seconds=1)


@pytest.fixture
def paused() -> CircuitBreaker:
    """Of a relay that was found not to work, NOW: it gets five seconds."""
    breaker = CircuitBreaker()
    update_breaker(breaker, NO_ROUTE, now=NOW)
    return breaker


def test_all_is_well_at_first() -> None:
    breaker = CircuitBreaker()

    changed = update_breaker(breaker, SendResult(), now=NOW)

    assert (changed, breaker.failures, breaker.next_probe_at) == (False, 0, None)
    assert breaker.capacity(20, in_flight=7, now=NOW) == 20


def test_a_relay_that_does_not_work_gets_a_pause() -> None:
    breaker = CircuitBreaker()

    changed = update_breaker(breaker, NO_ROUTE, now=NOW)

    assert (changed, breaker.failures, breaker.next_probe_at) == (True, 1, NOW + 5 * SECOND)
    assert breaker.error == "SMTPConnectError: no route"


def test_ten_mails_that_fail_at_once_are_one_failure(paused: CircuitBreaker) -> None:
    changed = [update_breaker(paused, NO_ROUTE, now=NOW + 4 * SECOND) for _ in range(10)]

    assert (any(changed), paused.failures, paused.next_probe_at) == (False, 1, NOW + 5 * SECOND)


def test_nothing_is_sent_in_the_pause_and_one_mail_after_it(paused: CircuitBreaker) -> None:
    during = paused.capacity(20, in_flight=0, now=NOW + 4.9 * SECOND)
    after = [paused.capacity(20, in_flight=in_flight, now=NOW + 5 * SECOND) for in_flight in (0, 1, 5)]

    assert (during, after) == (0, [1, 0, 0])


def test_another_failure_after_the_pause_makes_a_longer_one(paused: CircuitBreaker) -> None:
    changed = update_breaker(paused, NO_ROUTE, now=NOW + 5 * SECOND)

    assert (changed, paused.failures, paused.next_probe_at) == (True, 2, NOW + 15 * SECOND)


@pytest.mark.parametrize(("back", "room"), [(timedelta(minutes=4), 0), (timedelta(hours=3), 1)])
def test_a_clock_that_is_set_back_makes_no_pause_longer_than_the_longest(
    paused: CircuitBreaker, back: timedelta, room: int
) -> None:
    assert paused.capacity(20, in_flight=0, now=NOW - back) == room


def test_a_failure_after_the_clock_was_set_back_counts(paused: CircuitBreaker) -> None:
    changed = update_breaker(paused, NO_ROUTE, now=NOW - timedelta(hours=3))

    assert (changed, paused.failures, paused.next_probe_at) == (True, 2, NOW - timedelta(hours=3) + 10 * SECOND)


@pytest.mark.parametrize(
    "result", [SendResult(), SendResult("451", FailureKind.TEMPORARY), SendResult("550", FailureKind.PERMANENT)]
)
def test_a_relay_that_says_anything_of_a_mail_works(paused: CircuitBreaker, result: SendResult) -> None:
    changed = [update_breaker(paused, result, now=NOW + 5 * SECOND) for _ in range(2)]

    assert (changed, paused.failures, paused.next_probe_at) == ([True, False], 0, None)
    assert paused.capacity(20, in_flight=1, now=NOW + 5 * SECOND) == 20


@pytest.mark.django_db
def test_a_pause_is_written_down_while_it_lasts(paused: CircuitBreaker) -> None:
    save_outage(WORKER, paused, now=NOW)
    pause = RelayOutage.objects.get()
    update_breaker(paused, SendResult(), now=NOW + 5 * SECOND)
    save_outage(WORKER, paused, now=NOW + 5 * SECOND)

    assert (pause.worker, pause.started_at, pause.next_probe_at, pause.failures) == (WORKER, NOW, NOW + 5 * SECOND, 1)
    assert pause.error == "SMTPConnectError: no route"
    assert not RelayOutage.objects.exists()


@pytest.mark.django_db
def test_a_longer_pause_is_since_when_the_first_was(paused: CircuitBreaker) -> None:
    save_outage(WORKER, paused, now=NOW)

    update_breaker(paused, SendResult("SMTPAuthenticationError: no", FailureKind.RELAY_UNAVAILABLE), now=NOW + 6 * SECOND)
    save_outage(WORKER, paused, now=NOW + 6 * SECOND)

    pause = RelayOutage.objects.get()
    assert (pause.started_at, pause.next_probe_at, pause.failures) == (NOW, NOW + 16 * SECOND, 2)
    assert pause.error == "SMTPAuthenticationError: no"


@pytest.mark.django_db
def test_each_engine_has_a_pause_of_its_own(paused: CircuitBreaker) -> None:
    for worker in ("one", "other"):
        save_outage(worker, paused, now=NOW)

    save_outage("one", CircuitBreaker(), now=NOW)

    assert [pause.worker for pause in RelayOutage.objects.all()] == ["other"]
