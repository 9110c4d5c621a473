"""`python -m bench.counting serve …`: `manage.py serve`, beside a thread of its process that does nothing but count.

It is the least that an engine at full speed in the same process can cost: a thread has the interpreter, or another has it.
"""

from threading import Thread

from manage import main


def count() -> None:
    """For ever."""
    number = 0
    while True:
        number += 1


if __name__ == "__main__":
    Thread(target=count, daemon=True).start()
    main()
