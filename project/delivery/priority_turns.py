"""The order in which emails of different priorities take turns, and the connections that they may occupy. Pure."""

from collections.abc import Collection, Mapping
from functools import cache

from project.emails.priority import Priority

FROM_HIGH_TO_LOW = tuple(Priority)
# After this many emails of a higher priority, an email of this priority that waits has its turn. So of ten emails, about seven
# are high, two are normal and one is low, if all three wait.
MAX_PASSED = {Priority.NORMAL: 3, Priority.LOW: 9}
LOW_KEEPS_FREE = 8  # emails of low priority leave one of so many connections to others
MIN_CONNECTIONS_FOR_HIGH = 4  # with fewer connections, none is kept free for emails of high priority


class PriorityTurns:
    """Counts for each priority how many emails of a higher priority went before it since its last turn."""

    def __init__(self) -> None:
        self._passed = dict.fromkeys(Priority, 0)

    def next(self, waiting: Collection[Priority]) -> Priority:
        """Return which of the priorities that wait has the next turn, and count the turn."""
        if len(waiting) == 1:  # the most common case
            (chosen,) = waiting
            self._passed[chosen] = 0
            return chosen
        order = [priority for priority in FROM_HIGH_TO_LOW if priority in waiting]
        overdue = (each for each in reversed(order) if each in MAX_PASSED and self._passed[each] >= MAX_PASSED[each])
        chosen = next(overdue, order[0])
        for passed in order[order.index(chosen) + 1 :]:
            self._passed[passed] += 1
        self._passed[chosen] = 0
        return chosen


@cache
def connection_shares(connections: int, *, high_expected: bool) -> Mapping[Priority, int]:
    """Return for each priority how many connections its emails, together with those of lower priorities, may occupy.

    Emails of low priority leave some connections free. Emails of normal priority leave one free only if an email of high priority
    is expected, because all connections are worth more if no caller uses priorities.
    """
    kept_for_high = 1 if high_expected and connections >= MIN_CONNECTIONS_FOR_HIGH else 0
    normal = connections - kept_for_high
    low = max(1, connections - max(1, connections // LOW_KEEPS_FREE))
    return {Priority.HIGH: connections, Priority.NORMAL: normal, Priority.LOW: min(low, normal)}
