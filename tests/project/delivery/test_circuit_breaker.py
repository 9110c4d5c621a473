"""The circuit breaker for the relay."""

from datetime import timedelta
from uuid import UUID

import pytest

from project.delivery.circuit_breaker import (
    CircuitBreaker,
    is_delivery_paused,
    request_probe,
    requested_probe,
    save_outage,
    update_breaker,
)
from project.delivery.models import RelayOutage
from project.transports.result import SendResult
from project.transports.smtp.error_classification import FailureKind
from project.transports.smtp.replies import Reply
from tests.project.conftest import NOW, WORKER

NO_ROUTE = SendResult("SMTPConnectError: no route", FailureKind.RELAY_UNAVAILABLE)
LOST = SendResult("SMTPServerDisconnected: Connection lost", FailureKind.TEMPORARY)
GREYLISTED = SendResult("451", FailureKind.TEMPORARY, rejections={"ada@example.com": Reply(451, "4.7.1 Greylisted")})
RELAY = "relay.example.com:25"
SECOND = timedelta(seconds=1)
FIRST = UUID(int=1)


@pytest.fixture
def open_breaker() -> CircuitBreaker:
    """Return a breaker that opened at NOW and stays open for five seconds."""
    breaker = CircuitBreaker()
    update_breaker(breaker, FIRST, NO_ROUTE, now=NOW)
    return breaker


def test_a_new_breaker_is_closed() -> None:
    breaker = CircuitBreaker()

    changed = update_breaker(breaker, FIRST, SendResult(), now=NOW)

    assert (changed, breaker.failures, breaker.next_probe_at) == (False, 0, None)
    assert breaker.capacity(20, in_flight=7, now=NOW) == 20


def test_is_closed_only_without_any_failure() -> None:
    breaker = CircuitBreaker()
    states = [breaker.is_closed]
    for result in (LOST, SendResult(), NO_ROUTE, SendResult()):
        update_breaker(breaker, FIRST, result, now=NOW)
        states.append(breaker.is_closed)

    assert states == [True, False, True, False, True]


def test_opens_when_the_relay_is_unavailable() -> None:
    breaker = CircuitBreaker()

    changed = update_breaker(breaker, FIRST, NO_ROUTE, now=NOW)

    assert (changed, breaker.failures, breaker.next_probe_at) == (True, 1, NOW + 5 * SECOND)
    assert breaker.error == "SMTPConnectError: no route"


def test_counts_ten_simultaneous_failures_as_one(open_breaker: CircuitBreaker) -> None:
    changed = [update_breaker(open_breaker, FIRST, NO_ROUTE, now=NOW + 4 * SECOND) for _ in range(10)]

    assert (any(changed), open_breaker.failures, open_breaker.next_probe_at) == (False, 1, NOW + 5 * SECOND)


def test_allows_no_email_while_open_and_one_probe_when_half_open(open_breaker: CircuitBreaker) -> None:
    during = open_breaker.capacity(20, in_flight=0, now=NOW + 4.9 * SECOND)
    after = [open_breaker.capacity(20, in_flight=in_flight, now=NOW + 5 * SECOND) for in_flight in (0, 1, 5)]

    assert (during, after) == (0, [1, 0, 0])


def test_a_failed_probe_doubles_the_pause(open_breaker: CircuitBreaker) -> None:
    changed = update_breaker(open_breaker, FIRST, NO_ROUTE, now=NOW + 5 * SECOND)

    assert (changed, open_breaker.failures, open_breaker.next_probe_at) == (True, 2, NOW + 15 * SECOND)


@pytest.mark.parametrize(("back", "capacity"), [(timedelta(minutes=4), 0), (timedelta(hours=3), 1)])
def test_setting_the_clock_back_does_not_extend_the_longest_pause(
    open_breaker: CircuitBreaker, back: timedelta, capacity: int
) -> None:
    assert open_breaker.capacity(20, in_flight=0, now=NOW - back) == capacity


def test_counts_a_failure_after_the_clock_was_set_back(open_breaker: CircuitBreaker) -> None:
    changed = update_breaker(open_breaker, FIRST, NO_ROUTE, now=NOW - timedelta(hours=3))

    assert (changed, open_breaker.failures, open_breaker.next_probe_at) == (True, 2, NOW - timedelta(hours=3) + 10 * SECOND)


@pytest.mark.parametrize("result", [SendResult(), GREYLISTED, SendResult("550", FailureKind.PERMANENT)])
def test_closes_on_any_reply_about_an_email(open_breaker: CircuitBreaker, result: SendResult) -> None:
    changed = [update_breaker(open_breaker, FIRST, result, now=NOW + 5 * SECOND) for _ in range(2)]

    assert (changed, open_breaker.failures, open_breaker.next_probe_at) == ([True, False], 0, None)
    assert open_breaker.capacity(20, in_flight=1, now=NOW + 5 * SECOND) == 20


@pytest.mark.parametrize("error", ["530 5.7.0 Log in first", "OSError: no", "421 4.3.2 Closing"])
def test_opens_after_many_different_emails_in_a_row_that_the_relay_may_have_failed(error: str) -> None:
    breaker, result = CircuitBreaker(max_suspected=3), SendResult(error, FailureKind.TEMPORARY)

    changed = [update_breaker(breaker, UUID(int=number), result, now=NOW) for number in (1, 2, 2, 2, 3)]

    assert (changed, breaker.failures, breaker.error) == ([False, False, False, False, True], 1, error)


@pytest.mark.parametrize("between", [SendResult(), GREYLISTED, SendResult("550", FailureKind.PERMANENT)])
def test_stays_closed_while_some_emails_get_a_reply(between: SendResult) -> None:
    breaker = CircuitBreaker(max_suspected=3)

    for number in range(9):
        update_breaker(breaker, UUID(int=number), between if number % 3 == 2 else LOST, now=NOW)

    assert breaker.failures == 0


def test_a_suspected_failure_of_the_probe_opens_it_again_for_a_short_time(open_breaker: CircuitBreaker) -> None:
    probed_at = NOW + 5 * SECOND

    update_breaker(open_breaker, FIRST, LOST, now=probed_at)

    assert (open_breaker.failures, open_breaker.next_probe_at) == (2, probed_at + 10 * SECOND)


def test_many_emails_are_tried_after_a_pause_for_suspected_failures() -> None:
    breaker, now, pauses = CircuitBreaker(max_suspected=3), NOW, []
    for number in range(12):
        if update_breaker(breaker, UUID(int=number), LOST, now=now):
            assert breaker.capacity(50, in_flight=0, now=now) == 0
            pauses.append((number, breaker.next_probe_at - now if breaker.next_probe_at else None))
            now = breaker.next_probe_at or now
        assert breaker.capacity(50, in_flight=2, now=now) == 50

    assert pauses == [(2, 5 * SECOND), (5, 10 * SECOND), (8, 10 * SECOND), (11, 10 * SECOND)]


@pytest.mark.django_db
def test_stores_an_outage_while_it_lasts(open_breaker: CircuitBreaker) -> None:
    save_outage(WORKER, RELAY, open_breaker, now=NOW)
    outage = RelayOutage.objects.get()
    update_breaker(open_breaker, FIRST, SendResult(), now=NOW + 5 * SECOND)
    save_outage(WORKER, RELAY, open_breaker, now=NOW + 5 * SECOND)

    assert (outage.worker, outage.started_at, outage.next_probe_at, outage.failures) == (WORKER, NOW, NOW + 5 * SECOND, 1)
    assert outage.error == "SMTPConnectError: no route"
    assert not RelayOutage.objects.exists()


@pytest.mark.django_db
def test_a_longer_outage_keeps_its_start_time(open_breaker: CircuitBreaker) -> None:
    save_outage(WORKER, RELAY, open_breaker, now=NOW)

    update_breaker(
        open_breaker, FIRST, SendResult("SMTPAuthenticationError: no", FailureKind.RELAY_UNAVAILABLE), now=NOW + 6 * SECOND
    )
    save_outage(WORKER, RELAY, open_breaker, now=NOW + 6 * SECOND)

    outage = RelayOutage.objects.get()
    assert (outage.started_at, outage.next_probe_at, outage.failures) == (NOW, NOW + 16 * SECOND, 2)
    assert outage.error == "SMTPAuthenticationError: no"


@pytest.mark.django_db
def test_stores_one_outage_per_worker(open_breaker: CircuitBreaker) -> None:
    for worker in ("first", "second"):
        save_outage(worker, RELAY, open_breaker, now=NOW)

    save_outage("first", RELAY, CircuitBreaker(), now=NOW)

    assert [outage.worker for outage in RelayOutage.objects.all()] == ["second"]


@pytest.mark.django_db
def test_stores_one_outage_per_relay(open_breaker: CircuitBreaker) -> None:
    for relay in ("first", "second"):
        save_outage(WORKER, relay, open_breaker, now=NOW)
    are_both_paused = is_delivery_paused(2)

    save_outage(WORKER, "first", CircuitBreaker(), now=NOW)

    assert [outage.relay for outage in RelayOutage.objects.all()] == ["second"]
    assert (are_both_paused, is_delivery_paused(2), is_delivery_paused(1)) == (True, False, True)


@pytest.mark.django_db
def test_tries_only_the_requested_relays_now(open_breaker: CircuitBreaker) -> None:
    for relay in ("first", "second"):
        save_outage(WORKER, relay, open_breaker, now=NOW)

    number = request_probe(["second"], now=NOW + SECOND)

    assert number == 1
    assert [requested_probe(WORKER, relay) for relay in ("first", "second")] == [NOW + 5 * SECOND, NOW + SECOND]
