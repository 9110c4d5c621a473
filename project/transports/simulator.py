"""Addresses that behave: at simulator.test, so that every path of a mail can be tried with no relay. Pure."""

import re
from dataclasses import dataclass

DOMAIN = "simulator.test"  # nobody's, ever (RFC 2606)
MAX_DELAY_SECONDS = 30  # seconds
ACCEPTED_ATTEMPT = 3  # the try at which the full mailbox has room again

KNOWN_NAMES = ("delivered", "bounce", "full", "defer", f"slow+N (N seconds, up to {MAX_DELAY_SECONDS})", "drop")


@dataclass(frozen=True)
class SimulatedBehaviour:
    """What a relay does about one recipient: it answers with `code` and `text`, and takes the mail after `seconds`.

    With `hangs_up` it does not: the connection is lost while the mail is handed over.
    """

    code: int = 250
    text: str = "2.1.5 Ok"
    seconds: int = 0
    hangs_up: bool = False

    @property
    def refuses(self) -> bool:
        """Whether the recipient is not taken."""
        return self.code >= 400


ACCEPT = SimulatedBehaviour()


def is_simulated(address: str) -> bool:
    """Whether a bare address is one of these. They bounce whenever they are asked to: a bounce suppresses none of them."""
    return address.lower().rpartition("@")[2] == DOMAIN


def behaviour_for(address: str, attempt: int) -> SimulatedBehaviour:
    """What becomes of a mail to this bare address at the `attempt`-th try. All other domains take everything.

    `bounce+order42` is `bounce`: what follows a plus tells mails apart, or is slow's number.
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
            return SimulatedBehaviour(hangs_up=True)
    return SimulatedBehaviour(550, f"5.1.1 The simulator knows {', '.join(KNOWN_NAMES)}")


def _slow(number: str) -> SimulatedBehaviour:
    if re.fullmatch("[0-9]{1,2}", number) and int(number) <= MAX_DELAY_SECONDS:
        return SimulatedBehaviour(seconds=int(number))
    return SimulatedBehaviour(550, f"5.1.3 It is slow+N, with N from 0 to {MAX_DELAY_SECONDS} seconds, such as slow+5@{DOMAIN}")
