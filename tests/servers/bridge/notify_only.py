"""`manage.py` with very long poll intervals, so that only notifications wake the event stream and the worker.

For example: `python -m tests.servers.bridge.notify_only deliver`
"""

import os
import sys

import django
from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from project.delivery.management.commands import deliver  # noqa: E402
from project.events import stream  # noqa: E402

stream.POLL_INTERVAL_SECONDS = deliver.UNNOTIFIED_POLL_INTERVAL_SECONDS = 24 * 60 * 60.0

execute_from_command_line(["manage.py", *sys.argv[1:]])
