"""The addresses of simulator.test."""

import pytest

from project.transports.simulator import ACCEPT, SimulatedBehaviour, behaviour_for
from project.transports.smtp.replies import Reply, is_bad_address


@pytest.mark.parametrize("address", ["bounce@example.com", "bounce@simulator.test.example", "bounce@a.simulator.test", "bounce"])
def test_all_other_domains_take_everything(address: str) -> None:
    assert behaviour_for(address, 1) == ACCEPT


@pytest.mark.parametrize("address", ["delivered@simulator.test", "delivered+order42@simulator.test", "slow+0@simulator.test"])
def test_takes_a_mail(address: str) -> None:
    assert behaviour_for(address, 1) == ACCEPT


@pytest.mark.parametrize("address", ["bounce@simulator.test", "BOUNCE@Simulator.TEST", "bounce+order42@simulator.test"])
@pytest.mark.parametrize("attempt", [1, 7])
def test_bounces_always(address: str, attempt: int) -> None:
    behaviour = behaviour_for(address, attempt)

    assert (behaviour.code, behaviour.refuses) == (550, True)
    assert is_bad_address(Reply(behaviour.code, behaviour.text))


@pytest.mark.parametrize(("attempt", "code"), [(1, 452), (2, 452), (3, 250), (4, 250)])
def test_a_full_mailbox_has_room_at_the_third_try(attempt: int, code: int) -> None:
    assert behaviour_for("full+a@simulator.test", attempt).code == code


@pytest.mark.parametrize("attempt", [1, 3, 10_000])
def test_defers_for_ever(attempt: int) -> None:
    reply = Reply(behaviour_for("defer@simulator.test", attempt).code, behaviour_for("defer@simulator.test", attempt).text)

    assert (reply.code, reply.requested_delay) == (451, None)


@pytest.mark.parametrize(
    ("address", "seconds"),
    [("slow+5@simulator.test", 5), ("SLOW+05@simulator.test", 5), ("slow+30@simulator.test", 30), ("slow+5+a@simulator.test", 5)],
)
def test_takes_its_time(address: str, seconds: int) -> None:
    assert behaviour_for(address, 1) == SimulatedBehaviour(seconds=seconds)


@pytest.mark.parametrize("detail", ["", "+", "+31", "+300", "+-1", "+1.5", "+a", "+٥", "+5s", "+ 5"])
def test_says_how_slow_it_can_be(detail: str) -> None:
    behaviour = behaviour_for(f"slow{detail}@simulator.test", 1)

    assert (behaviour.code, behaviour.seconds) == (550, 0)
    assert "slow+N, with N from 0 to 30 seconds" in behaviour.text


def test_loses_the_connection_after_the_recipient_was_taken() -> None:
    behaviour = behaviour_for("drop+1@simulator.test", 1)

    assert (behaviour.hangs_up, behaviour.refuses) == (True, False)


@pytest.mark.parametrize("local", ["ada", "", "bounced", "+bounce", "delivered.", "b\u00f6unce"])
def test_says_what_it_knows_to_whom_it_does_not_know(local: str) -> None:
    behaviour = behaviour_for(f"{local}@simulator.test", 1)

    assert behaviour.code == 550
    assert all(name in behaviour.text for name in ("delivered", "bounce", "full", "defer", "slow+N", "drop"))
    assert is_bad_address(Reply(behaviour.code, behaviour.text))
