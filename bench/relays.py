"""SMTP servers to deliver to: Postfix's smtp-sink, which is fast, and a slow relay."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import which

from bench.processes import listening, run

SBIN = "/usr/sbin"  # where Debian installs Postfix's programs; often not on the PATH
BYTES = 2000  # size of an email from smtp-source, about as large as the sample email
UNPRIVILEGED_USER = "nobody"  # a user that every Debian system has
BACKLOG = "1000"  # pending connections


@contextmanager
def fast_relay(folder: Path) -> Iterator[int]:
    """Run smtp-sink. Yield its port."""
    as_user = ["-u", UNPRIVILEGED_USER] if os.geteuid() == 0 else []  # smtp-sink refuses to run as root
    with listening([_program("smtp-sink"), *as_user, "127.0.0.1:{port}", BACKLOG], log=folder / "smtp-sink.log") as port:
        yield port


def slow_relay(folder: Path, *options: str) -> AbstractContextManager[int]:
    """Run a relay that needs 50 ms for each email, or the options of bench.slow_relay. Yield its port."""
    return listening([sys.executable, "-m", "bench.slow_relay", "{port}", *options], log=folder / "slow_relay.log")


def smtp_source(port: int, *, count: int, connections: int, keep_connections: bool = False, size: int = BYTES) -> float:
    """Return emails/s of Postfix's smtp-source. It opens a new connection per email, unless `keep_connections` is set."""
    options = ["-s", str(connections), "-m", str(count), "-l", str(size), *(["-d"] if keep_connections else [])]
    began = time.perf_counter()
    run([_program("smtp-source"), *options, f"127.0.0.1:{port}"])
    return count / (time.perf_counter() - began)


def missing() -> list[str]:
    """Return the names of the programs that are not installed."""
    return [name for name in ("smtp-sink", "smtp-source") if which(name, path=f"{os.environ['PATH']}:{SBIN}") is None]


def _program(name: str) -> str:
    found = which(name, path=f"{os.environ['PATH']}:{SBIN}")
    assert found is not None
    return found
