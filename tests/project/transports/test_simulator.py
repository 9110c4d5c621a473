"""The test email addresses at simulator.test."""

import pytest

from project.transports.simulator import ACCEPT, SimulatedBehavior, behavior_for
from project.transports.smtp.replies import Reply, is_bad_address


@pytest.mark.parametrize("address", ["bounce@example.com", "bounce@simulator.test.example", "bounce@a.simulator.test", "bounce"])
def test_all_other_domains_accept_everything(address: str) -> None:
    assert behavior_for(address, 1) == ACCEPT


@pytest.mark.parametrize("address", ["delivered@simulator.test", "delivered+order42@simulator.test", "slow+0@simulator.test"])
def test_accepts_an_email(address: str) -> None:
    assert behavior_for(address, 1) == ACCEPT


@pytest.mark.parametrize("address", ["bounce@simulator.test", "BOUNCE@Simulator.TEST", "bounce+order42@simulator.test"])
@pytest.mark.parametrize("attempt", [1, 7])
def test_bounce_is_permanent(address: str, attempt: int) -> None:
    behavior = behavior_for(address, attempt)

    assert (behavior.code, behavior.rejects) == (550, True)
    assert is_bad_address(Reply(behavior.code, behavior.text))


@pytest.mark.parametrize(("attempt", "code"), [(1, 452), (2, 452), (3, 250), (4, 250)])
def test_full_accepts_the_third_attempt(attempt: int, code: int) -> None:
    assert behavior_for("full+a@simulator.test", attempt).code == code


@pytest.mark.parametrize("attempt", [1, 3, 10_000])
def test_defer_is_always_temporary(attempt: int) -> None:
    reply = Reply(behavior_for("defer@simulator.test", attempt).code, behavior_for("defer@simulator.test", attempt).text)

    assert (reply.code, reply.requested_delay) == (451, None)


@pytest.mark.parametrize(
    ("address", "seconds"),
    [("slow+5@simulator.test", 5), ("SLOW+05@simulator.test", 5), ("slow+30@simulator.test", 30), ("slow+5+a@simulator.test", 5)],
)
def test_slow_accepts_after_n_seconds(address: str, seconds: int) -> None:
    assert behavior_for(address, 1) == SimulatedBehavior(seconds=seconds)


@pytest.mark.parametrize("detail", ["", "+", "+31", "+300", "+-1", "+1.5", "+a", "+٥", "+5s", "+ 5"])
def test_slow_rejects_an_invalid_number_with_the_reason(detail: str) -> None:
    behavior = behavior_for(f"slow{detail}@simulator.test", 1)

    assert (behavior.code, behavior.seconds) == (550, 0)
    assert "slow+N, with N from 0 to 30 seconds" in behavior.text


def test_drop_accepts_the_recipient_and_then_disconnects() -> None:
    behavior = behavior_for("drop+1@simulator.test", 1)

    assert (behavior.disconnects, behavior.rejects) == (True, False)


@pytest.mark.parametrize("local", ["ada", "", "bounced", "+bounce", "delivered.", "b\u00f6unce"])
def test_an_unknown_name_bounces_and_lists_the_known_names(local: str) -> None:
    behavior = behavior_for(f"{local}@simulator.test", 1)

    assert behavior.code == 550
    assert all(name in behavior.text for name in ("delivered", "bounce", "full", "defer", "slow+N", "drop"))
    assert is_bad_address(Reply(behavior.code, behavior.text))
