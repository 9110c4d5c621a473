"""`python -m bench.counting serve …`: `manage.py serve`, beside a thread of its process that does nothing but count.

It is the least that an engine at full speed in the same process can cost: a thread has the interpreter, or another has it.
"""

import sys
from threading import Thread

from manage import main

SWITCH = 0.0002  # seconds after which the counting gives way; shorter ones cost the same, longer ones more


def count() -> None:
    """For ever."""
    number = 0
    while True:
        number += 1


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH)
    Thread(target=count, daemon=True).start()
    main()
