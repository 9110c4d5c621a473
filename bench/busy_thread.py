"""`python -m bench.busy_thread serve …`: `manage.py serve` with a busy thread in its process.

A delivery worker at full speed in this process would cost at least as much, because only one thread holds the GIL at a time.
"""

from threading import Thread

from manage import main


def count() -> None:
    """Count forever."""
    number = 0
    while True:
        number += 1


if __name__ == "__main__":
    Thread(target=count, daemon=True).start()
    main()
