"""Programs that a benchmark needs beside Mailrail. They are started on a free port, and ended by their process id."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, WAIT_TIMEOUT_SECONDS, free_port, wait_for


@contextmanager
def listening(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run `command` until the end of the block, with a free port in place of `{port}`. Yield the port."""
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: process.poll() is not None or _listens(port), f"{command[0]} listens", log.read_text)
        if process.poll() is not None:
            raise SystemExit(f"{command[0]} ended with {process.returncode}:\n{log.read_text()}")
        yield port
    finally:
        process.terminate()
        try:
            process.wait(WAIT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return its output. A failure ends the benchmark with the error output."""
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr[-2000:]}")
    return done.stdout


def terminate_cleanly() -> None:
    """Handle SIGTERM like Ctrl-C: end child processes and delete temporary data before exiting."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def _listens(port: int) -> bool:
    # Read from the kernel's table, because a test connection would be counted by an SMTP server.
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in table)
