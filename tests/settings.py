"""The settings of a new installation in a temporary directory. The environment variables of the test run do not affect them.

The exception is TEST_DATABASE_URL, with which the tests use PostgreSQL (`bin/test --database postgres`).
"""

import atexit
import os
import shutil
import tempfile
from datetime import timedelta

from project.config.environment import Environment

for name in Environment.model_fields:
    os.environ.pop(name.upper(), None)
    os.environ.pop(f"{name.upper()}_FILE", None)
os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="mailrail-tests-")
atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)

if "TEST_DATABASE_URL" in os.environ:
    os.environ["DATABASE_URL"] = os.environ["TEST_DATABASE_URL"]
    os.environ["DATABASE_IDLE_IN_TRANSACTION_TIMEOUT"] = "0"  # most tests run in one transaction, and may be slow

from project.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a fast hash, because the tests log in often
MAX_EMAIL_AGE = timedelta(days=36_500)  # most tests claim at a fixed time, which may be long after the time of the submission

if "DATABASE_URL" in os.environ:
    # A process that a test starts has its own database and timeouts.
    del os.environ["DATABASE_URL"], os.environ["DATABASE_IDLE_IN_TRANSACTION_TIMEOUT"]
else:
    # A file, because threads do not share an in-memory database.
    DATABASES["default"]["TEST"] = {"NAME": f"{os.environ['DATA_DIR']}/test.sqlite3"}  # noqa: F405
