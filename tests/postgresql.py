"""A real PostgreSQL server for tests, from Debian's package. Its cluster is in a temporary directory, and it uses a free port.

`python -m tests.postgresql COMMAND …` runs a command, such as pytest, while a cluster runs. The command finds the cluster in the
environment variable TEST_DATABASE_URL (tests/settings.py).
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.processes import free_port


def program(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs, or None. Debian does not put these programs on the PATH."""
    paths = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(paths[-1]) if paths else None)


class PostgreSQL:
    """A cluster that can be stopped and started again."""

    def __init__(self, folder: Path, addresses: Sequence[str] = (), *, fsync: bool = False) -> None:
        """Create a cluster that other hosts reach at `addresses` of this host. With `fsync`, commits survive a power failure."""
        self.folder = folder
        self._fsync = "on" if fsync else "off"
        self._addresses = ",".join(("127.0.0.1", *addresses))
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self._user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL does not run as root
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync")
        with (folder / "data" / "pg_hba.conf").open("a") as access:
            access.write("host all all samenet trust\n")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        # Under load, each process of Mailrail opens 13 connections, and the processes of all tests may share one cluster.
        options = [f"port={self.port}", f"listen_addresses={self._addresses}", "unix_socket_directories=''"]
        arguments = " ".join(f"-c {option}" for option in [*options, f"fsync={self._fsync}", "max_connections=300"])
        self._run("pg_ctl", "--wait", "--log", str(self.folder / "log"), "-o", arguments, "start")

    def stop(self) -> None:
        """Stop the server without a clean shutdown: every connection breaks, as in a crash."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    @contextmanager
    def stopped_processes(self) -> Iterator[None]:
        """Stop all processes of the server with SIGSTOP: the kernel accepts connections, but nothing is answered."""
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        pids = [postmaster, *_child_processes(postmaster)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def transaction(self, statement: str) -> Iterator[None]:
        """Run a statement in a transaction of another program, which stays open until the end of the `with` block."""
        psql = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", self.url]
        with subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
            assert session.stdin is not None
            assert session.stdout is not None
            session.stdin.write(f"BEGIN; {statement};\n\\echo ready\n")
            session.stdin.flush()
            assert session.stdout.readline() == "ready\n"
            yield
            session.communicate("ROLLBACK;")

    def query(self, statement: str) -> str:
        """Run a statement with psql, and return its output."""
        psql = ["psql", "--no-psqlrc", "--tuples-only", "--no-align", self.url, "--command", statement]
        return subprocess.run(psql, check=True, capture_output=True, text=True).stdout.strip()

    def _run(self, name: str, *arguments: str) -> None:
        executable = program(name)
        assert executable is not None
        command = [executable, "--pgdata", str(self.folder / "data"), *arguments]
        # Output is not captured through a pipe, because the server that pg_ctl starts would keep the pipe open.
        subprocess.run(command, user=self._user, cwd=self.folder, stdout=subprocess.DEVNULL, check=True)


def _child_processes(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def cluster(addresses: Sequence[str] = (), *, fsync: bool = False) -> Iterator[PostgreSQL]:
    """Run a cluster until the end of the `with` block. Other hosts reach it at `addresses` of this host."""
    # The cluster is not in pytest's directory, because the user `postgres` cannot enter that directory.
    with TemporaryDirectory(prefix="mailrail-postgresql-") as folder:
        server = PostgreSQL(Path(folder), addresses, fsync=fsync)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def main(command: list[str]) -> int:
    """Run a command while a cluster runs, and return its exit code."""
    assert program("initdb") is not None, "PostgreSQL is missing (Debian: postgresql)"
    signal.signal(signal.SIGINT, lambda *_: None)  # the command receives Ctrl-C too, and stops by itself
    with cluster() as server, subprocess.Popen(command, env={**os.environ, "TEST_DATABASE_URL": server.url}) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
