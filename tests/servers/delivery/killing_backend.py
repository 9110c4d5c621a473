"""Email backend that kills its own process for one recipient. `python -m tests.servers.delivery.killing_backend` runs a worker.

The worker waits for less time after a crash, and gives up after two.
"""

import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

VICTIM = "0@example.com"  # the email to this address kills the process
MAX_CRASHES = 2


class KillingBackend(BaseEmailBackend):
    """Accepts each email, except that it kills the process for the email to `VICTIM`."""

    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        """Accept the messages, or kill the process."""
        if any(VICTIM in message.recipients() for message in messages):
            os.kill(os.getpid(), signal.SIGKILL)
        return len(messages)


if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    from project.delivery import crashes

    crashes.CRASH_DELAYS, crashes.MAX_CRASHES = [timedelta(0)], MAX_CRASHES
    execute_from_command_line(["manage.py", "deliver", *sys.argv[1:]])
