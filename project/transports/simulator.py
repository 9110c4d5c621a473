"""Test addresses at simulator.test that bounce, delay or disconnect on purpose, to test deliveries without a relay. Pure."""

import re
from dataclasses import dataclass

DOMAIN = "simulator.test"  # .test is reserved for testing (RFC 2606)
MAX_DELAY_SECONDS = 30
ACCEPTED_ATTEMPT = 3  # the attempt at which a full mailbox accepts the email

KNOWN_NAMES = ("delivered", "bounce", "full", "defer", f"slow+N (N seconds, up to {MAX_DELAY_SECONDS})", "drop")


@dataclass(frozen=True)
class SimulatedBehavior:
    """Behavior of a relay toward one recipient: reply with `code` and `text`, or accept the email after `seconds`.

    With `disconnects`, the connection is lost instead while the message is sent.
    """

    code: int = 250
    text: str = "2.1.5 Ok"
    seconds: int = 0
    disconnects: bool = False

    @property
    def rejects(self) -> bool:
        """Return whether the recipient is rejected, temporarily (4xx) or permanently (5xx)."""
        return self.code >= 400


ACCEPT = SimulatedBehavior()


def is_simulated(address: str) -> bool:
    """Return whether the address is a test address. Test addresses that bounce are not added to the suppression list."""
    return address.lower().rpartition("@")[2] == DOMAIN


def behavior_for(address: str, attempt: int) -> SimulatedBehavior:
    """Return how the bare address behaves at the `attempt`-th attempt, counted from 1. Addresses at other domains are accepted.

    Text after a plus is ignored (`bounce+order42` is `bounce`). Exception: in `slow+5`, the text is the delay in seconds.
    """
    if not is_simulated(address):
        return ACCEPT
    local = address.lower().rpartition("@")[0]
    name, _, detail = local.partition("+")
    match name:
        case "delivered":
            return ACCEPT
        case "bounce":
            return SimulatedBehavior(550, "5.1.1 No such mailbox")
        case "full":
            return SimulatedBehavior(452, "4.2.2 Mailbox full") if attempt < ACCEPTED_ATTEMPT else ACCEPT
        case "defer":
            return SimulatedBehavior(451, "4.3.0 Not now, try again later")
        case "slow":
            return _slow(detail.partition("+")[0])
        case "drop":
            return SimulatedBehavior(disconnects=True)
    return SimulatedBehavior(550, f"5.1.1 Unknown test address. Use {', '.join(KNOWN_NAMES)}")


def _slow(number: str) -> SimulatedBehavior:
    if re.fullmatch("[0-9]{1,2}", number) and int(number) <= MAX_DELAY_SECONDS:
        return SimulatedBehavior(seconds=int(number))
    return SimulatedBehavior(550, f"5.1.3 Use slow+N, with N from 0 to {MAX_DELAY_SECONDS} seconds, such as slow+5@{DOMAIN}")
