"""Where the mail goes: Postfix's smtp-sink, as fast as it can, and a relay that takes its time."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import which

from bench.processes import listening, run

SBIN = "/usr/sbin"  # where Debian has them, off the PATH of most
BYTES = 2000  # of a mail as smtp-source makes it, about as many as the one that is measured
BACKLOG = "1000"  # connections that may wait


@contextmanager
def fast_relay(folder: Path) -> Iterator[int]:
    """smtp-sink. Gives its port."""
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
    with listening([_program("smtp-sink"), *as_user, "127.0.0.1:{port}", BACKLOG], log=folder / "smtp-sink.log") as port:
        yield port


def slow_relay(folder: Path) -> AbstractContextManager[int]:
    """One that takes 50 ms for each mail. Gives its port."""
    return listening([sys.executable, "-m", "bench.slow_relay", "{port}"], log=folder / "slow_relay.log")


def smtp_source(port: int, *, mails: int, connections: int, kept: bool = False) -> float:
    """Mails/s of Postfix's smtp-source: a new connection for each mail, unless they are `kept`."""
    options = ["-s", str(connections), "-m", str(mails), "-l", str(BYTES), *(["-d"] if kept else [])]
    began = time.perf_counter()
    run([_program("smtp-source"), *options, f"127.0.0.1:{port}"])
    return mails / (time.perf_counter() - began)


def missing() -> list[str]:
    """Which of the programs this machine has not."""
    return [name for name in ("smtp-sink", "smtp-source") if which(name, path=f"{os.environ['PATH']}:{SBIN}") is None]


def _program(name: str) -> str:
    found = which(name, path=f"{os.environ['PATH']}:{SBIN}")
    assert found is not None
    return found
