"""Test addresses at simulator.test that bounce, delay or disconnect on purpose, so that no relay is needed to test it. Pure."""

import re
from dataclasses import dataclass

DOMAIN = "simulator.test"  # .test is reserved for testing (RFC 2606)
MAX_DELAY_SECONDS = 30
ACCEPTED_ATTEMPT = 3  # the attempt at which the full mailbox accepts the email

KNOWN_NAMES = ("delivered", "bounce", "full", "defer", f"slow+N (N seconds, up to {MAX_DELAY_SECONDS})", "drop")


@dataclass(frozen=True)
class SimulatedBehaviour:
    """Behaviour of a relay towards one recipient: reply with `code` and `text`, or accept the email after `seconds`.

    With `disconnects`, the connection is lost during the message instead.
    """

    code: int = 250
    text: str = "2.1.5 Ok"
    seconds: int = 0
    disconnects: bool = False

    @property
    def rejects(self) -> bool:
        """Return whether the recipient is rejected, temporarily (4xx) or permanently (5xx)."""
        return self.code >= 400


ACCEPT = SimulatedBehaviour()


def is_simulated(address: str) -> bool:
    """Return whether the address is a test address. Test addresses that bounce are not added to the suppression list."""
    return address.lower().rpartition("@")[2] == DOMAIN


def behaviour_for(address: str, attempt: int) -> SimulatedBehaviour:
    """Return how the bare address behaves at the `attempt`-th attempt, counted from 1. All other domains accept everything.

    Text after a plus is ignored (`bounce+order42` is `bounce`), except that it is the number of `slow`.
    """
    if not is_simulated(address):
        return ACCEPT
    local = address.lower().rpartition("@")[0]
    name, _, detail = local.partition("+")
    match name:
        case "delivered":
            return ACCEPT
        case "bounce":
            return SimulatedBehaviour(550, "5.1.1 No such mailbox")
        case "full":
            return SimulatedBehaviour(452, "4.2.2 Mailbox full") if attempt < ACCEPTED_ATTEMPT else ACCEPT
        case "defer":
            return SimulatedBehaviour(451, "4.3.0 Not now, try again later")
        case "slow":
            return _slow(detail.partition("+")[0])
        case "drop":
            return SimulatedBehaviour(disconnects=True)
    return SimulatedBehaviour(550, f"5.1.1 Unknown test address. Use {', '.join(KNOWN_NAMES)}")


def _slow(number: str) -> SimulatedBehaviour:
    if re.fullmatch("[0-9]{1,2}", number) and int(number) <= MAX_DELAY_SECONDS:
        return SimulatedBehaviour(seconds=int(number))
    return SimulatedBehaviour(550, f"5.1.3 Use slow+N, with N from 0 to {MAX_DELAY_SECONDS} seconds, such as slow+5@{DOMAIN}")
