"""An installation of Mailrail on a PostgreSQL server of its own, whose commits survive a power failure."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.installation import Installation
from bench.processes import run
from tests.postgresql import PostgreSQL, cluster


@dataclass(frozen=True)
class PostgreSQLInstallation(Installation):
    """A data folder, and a database of a PostgreSQL server."""

    server: PostgreSQL
    database: str

    def prepare(self) -> None:
        """Create the database, its tables and the administrator."""
        self.server.query(f"CREATE DATABASE {self.database}")
        run([sys.executable, "manage.py", "prepare"], env=self.env())

    def copy(self, data: Path) -> "PostgreSQLInstallation":
        """Return a copy with the same data."""
        name = data.name.replace("-", "_")
        super().copy(data)
        self.server.query(f"CREATE DATABASE {name} TEMPLATE {self.database}")
        return PostgreSQLInstallation(data, self.server, name)

    def query(self, statement: str) -> Sequence[str]:
        """Return the only row of a statement's result, as texts."""
        return run(["psql", "--no-psqlrc", "--tuples-only", "--no-align", self._url, "--command", statement]).strip().split("|")

    def env(self) -> dict[str, str]:
        """Return the environment variables of the installation's processes."""
        return {**super().env(), "DATABASE_URL": self._url}

    @property
    def _url(self) -> str:
        return f"{self.server.url.rpartition('/')[0]}/{self.database}"


@contextmanager
def on_postgresql(folder: Path) -> Iterator[PostgreSQLInstallation]:
    """Run a PostgreSQL server until the end of the block. Yield an installation that is prepared."""
    with cluster(fsync=True) as server:
        installation = PostgreSQLInstallation(folder / "postgresql", server, "mailrail")
        installation.data.mkdir()
        installation.prepare()
        yield installation
