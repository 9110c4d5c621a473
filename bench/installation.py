"""An installation of Mailrail with its own data folder, which a benchmark starts."""

import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.load import Request, post
from bench.processes import run
from bench.router import ENV, LISTEN, prepare
from bench.sample_email import EMAIL
from tests.processes import Server, running

MANAGE = ("manage.py",)
BATCH = 1000  # emails per batch, the maximum of the API


@dataclass(frozen=True)
class Installation:
    """A data folder with a database."""

    data: Path

    def prepare(self) -> None:
        """Create the tables and the administrator."""
        prepare(self.data)

    def copy(self, data: Path) -> "Installation":
        """Return a copy with the same data."""
        return Installation(shutil.copytree(self.data, data))

    def create_key(self) -> str:
        """Return a new API key that may send emails."""
        return self._manage("create_api_key", "bench", "--scope", "emails:send").strip()

    def queue(self, count: int, email: Mapping[str, Any] = EMAIL) -> None:
        """Queue this many copies of an email, in batches, without a delivery worker."""
        key = self.create_key()
        with self.served(DELIVERY_WORKER="external") as url:
            for begin in range(0, count, BATCH):
                post(Request(f"{url}/api/emails/batch", key, {"emails": [email] * min(BATCH, count - begin)}))

    @contextmanager
    def served(self, *program: str, **env: str) -> Iterator[str]:
        """Run the command `serve` of `manage.py` or of another `program`, without an access log. Yield the base URL."""
        command, all_env = [*(program or MANAGE), "serve", *LISTEN], {**self.env(), **env}
        with running(command, log=self.data / "log", env=all_env, own_session=False) as server:  # like the peers' server
            yield server.url

    @contextmanager
    def served_by(self, processes: int) -> Iterator[Server]:
        """Run as many server processes without a delivery worker. Yield their supervisor when all of them serve."""
        env = {**self.env(), "DELIVERY_WORKER": "external", "LOG_LEVEL": "INFO"}  # for the line that is waited for
        command = [*MANAGE, "serve", *LISTEN, "--processes", str(processes)]
        with running(command, log=self.data / f"log-{processes}", env=env) as server:
            server.wait_for_log("All processes have started")
            yield server

    def deliver(self, email_url: str) -> float:
        """Deliver all queued emails in a separate process. Return emails/s."""
        queued = self.left()
        seconds = self.drain(email_url)
        if left := self.left():
            raise SystemExit(f"{left} of {queued} emails were not delivered.")
        return queued / seconds

    def drain(self, email_url: str) -> float:
        """Try to send all queued emails once, in a separate process. Return the seconds."""
        env = {**self.env(), "DJANGO_SETTINGS_MODULE": "project.settings", "EMAIL_URL": email_url}
        return float(run([sys.executable, "-m", "bench.drain"], env=env))

    def delivered(self) -> float:
        """Return emails/s, measured from the event of the first claim to the event of the last sent email."""
        query = """
            SELECT COUNT(*) FILTER (WHERE type = 'email.sent'), MIN(created_at) FILTER (WHERE type = 'email.sending'),
            MAX(created_at) FILTER (WHERE type = 'email.sent') FROM events_event
        """
        count, started, ended = self.query(query)
        return float(int(count) / (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds())

    def left(self) -> int:
        """Return the number of emails that are not sent yet."""
        return self._count("status <> 'sent'")

    def sent(self) -> int:
        """Return the number of sent emails."""
        return self._count("status = 'sent'")

    def query(self, statement: str) -> Sequence[Any]:
        """Return the only row of a statement's result."""
        with closing(sqlite3.connect(self.data / "mailrail.sqlite3")) as connection:
            row: Sequence[Any] = connection.execute(statement).fetchone()
        return row

    def env(self) -> dict[str, str]:
        """Return the environment variables of the installation's processes."""
        return {**ENV, "DATA_DIR": str(self.data)}

    def _count(self, condition: str) -> int:
        return int(self.query(f"SELECT COUNT(*) FROM emails_email WHERE {condition}")[0])  # noqa: S608

    def _manage(self, *arguments: str, **env: str) -> str:
        return run([sys.executable, "manage.py", *arguments], env={**self.env(), **env})
