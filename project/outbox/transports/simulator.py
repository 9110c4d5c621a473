"""Addresses that behave: at simulator.test, so that every path of a mail can be tried with no relay. Pure."""

import re
from dataclasses import dataclass

DOMAIN = "simulator.test"  # nobody's, ever (RFC 2606)
LONGEST = 30  # seconds
PATIENCE = 3  # the try at which the full mailbox has room again

KNOWN = ("delivered", "bounce", "full", "defer", f"slow+N (N seconds, up to {LONGEST})", "drop")


@dataclass(frozen=True)
class Behaviour:
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


TAKEN = Behaviour()


def is_simulated(address: str) -> bool:
    """Whether a bare address is one of these. They bounce whenever they are asked to: a bounce suppresses none of them."""
    return address.lower().rpartition("@")[2] == DOMAIN


def simulated(address: str, attempt: int) -> Behaviour:
    """What becomes of a mail to this bare address at the `attempt`-th try. All other domains take everything.

    `bounce+order42` is `bounce`: what follows a plus tells mails apart, or is slow's number.
    """
    if not is_simulated(address):
        return TAKEN
    local = address.lower().rpartition("@")[0]
    name, _, detail = local.partition("+")
    match name:
        case "delivered":
            return TAKEN
        case "bounce":
            return Behaviour(550, "5.1.1 No such mailbox")
        case "full":
            return Behaviour(452, "4.2.2 Mailbox full") if attempt < PATIENCE else TAKEN
        case "defer":
            return Behaviour(451, "4.3.0 Not now, try again later")
        case "slow":
            return _slow(detail.partition("+")[0])
        case "drop":
            return Behaviour(hangs_up=True)
    return Behaviour(550, f"5.1.1 The simulator knows {', '.join(KNOWN)}")


def _slow(number: str) -> Behaviour:
    if re.fullmatch("[0-9]{1,2}", number) and int(number) <= LONGEST:
        return Behaviour(seconds=int(number))
    return Behaviour(550, f"5.1.3 It is slow+N, with N from 0 to {LONGEST} seconds, such as slow+5@{DOMAIN}")
