"""What an engine does about a relay that does not work."""

from datetime import timedelta

import pytest

from project.outbox.models import Pause
from project.outbox.outcomes import Outcome
from project.outbox.pause import Patience, note_pause
from project.outbox.retry import Fault
from tests.project.conftest import ENGINE, NOW

NO_ROUTE = Outcome("SMTPConnectError: no route", Fault.RELAY)
SECOND = timedelta(seconds=1)


@pytest.fixture
def paused() -> Patience:
    """Of a relay that was found not to work, NOW: it gets five seconds."""
    patience = Patience()
    patience.hear(NO_ROUTE, now=NOW)
    return patience


def test_all_is_well_at_first() -> None:
    patience = Patience()

    changed = patience.hear(Outcome(), now=NOW)

    assert (changed, patience.failures, patience.until) == (False, 0, None)
    assert patience.room(20, in_hand=7, now=NOW) == 20


def test_a_relay_that_does_not_work_gets_a_pause() -> None:
    patience = Patience()

    changed = patience.hear(NO_ROUTE, now=NOW)

    assert (changed, patience.failures, patience.until) == (True, 1, NOW + 5 * SECOND)
    assert patience.error == "SMTPConnectError: no route"


def test_ten_mails_that_fail_at_once_are_one_failure(paused: Patience) -> None:
    changed = [paused.hear(NO_ROUTE, now=NOW + 4 * SECOND) for _ in range(10)]

    assert (any(changed), paused.failures, paused.until) == (False, 1, NOW + 5 * SECOND)


def test_nothing_is_sent_in_the_pause_and_one_mail_after_it(paused: Patience) -> None:
    during = paused.room(20, in_hand=0, now=NOW + 4.9 * SECOND)
    after = [paused.room(20, in_hand=in_hand, now=NOW + 5 * SECOND) for in_hand in (0, 1, 5)]

    assert (during, after) == (0, [1, 0, 0])


def test_another_failure_after_the_pause_makes_a_longer_one(paused: Patience) -> None:
    changed = paused.hear(NO_ROUTE, now=NOW + 5 * SECOND)

    assert (changed, paused.failures, paused.until) == (True, 2, NOW + 15 * SECOND)


@pytest.mark.parametrize(("back", "room"), [(timedelta(minutes=4), 0), (timedelta(hours=3), 1)])
def test_a_clock_that_is_set_back_makes_no_pause_longer_than_the_longest(paused: Patience, back: timedelta, room: int) -> None:
    assert paused.room(20, in_hand=0, now=NOW - back) == room


def test_a_failure_after_the_clock_was_set_back_counts(paused: Patience) -> None:
    changed = paused.hear(NO_ROUTE, now=NOW - timedelta(hours=3))

    assert (changed, paused.failures, paused.until) == (True, 2, NOW - timedelta(hours=3) + 10 * SECOND)


@pytest.mark.parametrize("outcome", [Outcome(), Outcome("451", Fault.MESSAGE_TRANSIENT), Outcome("550", Fault.MESSAGE_PERMANENT)])
def test_a_relay_that_says_anything_of_a_mail_works(paused: Patience, outcome: Outcome) -> None:
    changed = [paused.hear(outcome, now=NOW + 5 * SECOND) for _ in range(2)]

    assert (changed, paused.failures, paused.until) == ([True, False], 0, None)
    assert paused.room(20, in_hand=1, now=NOW + 5 * SECOND) == 20


@pytest.mark.django_db
def test_a_pause_is_written_down_while_it_lasts(paused: Patience) -> None:
    note_pause(ENGINE, paused, now=NOW)
    pause = Pause.objects.get()
    paused.hear(Outcome(), now=NOW + 5 * SECOND)
    note_pause(ENGINE, paused, now=NOW + 5 * SECOND)

    assert (pause.engine, pause.since, pause.until, pause.failures) == (ENGINE, NOW, NOW + 5 * SECOND, 1)
    assert pause.error == "SMTPConnectError: no route"
    assert not Pause.objects.exists()


@pytest.mark.django_db
def test_a_longer_pause_is_since_when_the_first_was(paused: Patience) -> None:
    note_pause(ENGINE, paused, now=NOW)

    paused.hear(Outcome("SMTPAuthenticationError: no", Fault.RELAY), now=NOW + 6 * SECOND)
    note_pause(ENGINE, paused, now=NOW + 6 * SECOND)

    pause = Pause.objects.get()
    assert (pause.since, pause.until, pause.failures) == (NOW, NOW + 16 * SECOND, 2)
    assert pause.error == "SMTPAuthenticationError: no"


@pytest.mark.django_db
def test_each_engine_has_a_pause_of_its_own(paused: Patience) -> None:
    for engine in ("one", "other"):
        note_pause(engine, paused, now=NOW)

    note_pause("one", Patience(), now=NOW)

    assert [pause.engine for pause in Pause.objects.all()] == ["other"]
