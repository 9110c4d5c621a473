"""`manage.py`, with tails and engines that look only when they are told to: nothing but a hint makes them find anything.

`python -m tests.servers.hinted deliver`
"""

import os
import sys

import django
from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from project.management.commands import deliver  # noqa: E402
from project.outbox import live  # noqa: E402

live.LOOK_EVERY = deliver.LOOK_OFTEN = 24 * 60 * 60.0

execute_from_command_line(["manage.py", *sys.argv[1:]])
