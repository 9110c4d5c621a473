"""A real PostgreSQL for tests, from Debian's package: a cluster of its own in a temporary folder, on a free port."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.processes import free_port


def program(name: str) -> str | None:
    """Where one of PostgreSQL's programs is. Debian keeps them off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


class PostgreSQL:
    """A cluster. It can be stopped, and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync")

    def start(self) -> None:
        """Return when it takes connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=30 -c fsync=off"
        self._run("pg_ctl", "--wait", "--log", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Cut every connection off, as a crash would."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def query(self, statement: str) -> str:
        """What psql says to it."""
        psql = ["psql", "--no-psqlrc", "--tuples-only", "--no-align", self.url, "--command", statement]
        return subprocess.run(psql, check=True, capture_output=True, text=True).stdout.strip()

    def _run(self, name: str, *arguments: str) -> None:
        executable = program(name)
        assert executable is not None
        command = [executable, "--pgdata", str(self.folder / "data"), *arguments]
        # Not captured through a pipe: the server, started by pg_ctl, would hold it open.
        subprocess.run(command, user=self._user, cwd=self.folder, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def cluster() -> Iterator[PostgreSQL]:
    """A cluster that runs until the end of the block."""
    with TemporaryDirectory(prefix="mailrail-postgresql-") as folder:  # not pytest's: its own user could not get there
        server = PostgreSQL(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
