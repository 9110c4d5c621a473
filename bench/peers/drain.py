"""`python -m bench.peers.drain PROCESSES`: deliver all queued emails, and print their number and the seconds."""

import os
import sys
import time
from pathlib import Path

import django


def main(processes: int) -> None:
    """Measure the duration of `send_queued_mail` without its imports."""
    django.setup()
    from post_office.lockfile import FileLock  # type: ignore[import-not-found]  # noqa: F401  # imported before the clock runs
    from post_office.mail import send_queued_mail_until_done  # type: ignore[import-not-found]
    from post_office.models import STATUS, Email  # type: ignore[import-not-found]

    lock = Path(os.environ["DATA_DIR"]) / "lock"
    started = time.perf_counter()
    send_queued_mail_until_done(str(lock), processes, log_level=0)
    seconds = time.perf_counter() - started
    print(Email.objects.filter(status=STATUS.sent).count(), seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]))
