"""The folder through which the processes of one command share their metrics.

`manage.py serve`, `manage.py deliver` and Celery workers create it before prometheus-client is imported, because the library then
decides where it stores its values. The processes that the command starts inherit the variable, and write to the same folder.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus-client
COMMANDS = frozenset({"serve", "deliver"})

_owner_id: int | None = None  # id of the process that created the folder


def share_metrics(arguments: Sequence[str]) -> None:
    """Create the folder if this is the command line of a command that starts other processes, and no parent has created it."""
    if arguments[1:2] and arguments[1] in COMMANDS and not os.environ.get(VARIABLE):
        create_directory()


def share_metrics_of_celery(arguments: Sequence[str]) -> None:
    """Create the folder if this is the command line of a Celery worker, whose pool may have several processes."""
    is_too_late = "prometheus_client" in sys.modules  # a server that publishes wakes, not a worker
    if "worker" in arguments[1:] and not is_too_late and not os.environ.get(VARIABLE):
        create_directory()


def create_directory() -> Path:
    """Create the folder, and delete it when this process ends. Must run before prometheus-client is imported."""
    global _owner_id  # noqa: PLW0603  # one folder per process
    folder = Path(tempfile.mkdtemp(prefix="mailrail-metrics-"))
    _owner_id = os.getpid()
    os.environ[VARIABLE] = str(folder)
    atexit.register(_remove, folder, _owner_id)
    return folder


def is_first_process() -> bool:
    """Return whether this process created the folder, so that the other processes of the command are its descendants."""
    return _owner_id == os.getpid()


def _remove(folder: Path, owner_id: int) -> None:
    if os.getpid() == owner_id:  # a forked process inherits the exit handler
        shutil.rmtree(folder, ignore_errors=True)
