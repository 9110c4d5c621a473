"""An installation of Mailrail, with its data in a folder, for the measurement to start it."""

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.load import Request, post
from bench.mails import MAIL
from bench.processes import run
from bench.router import ENV, LISTEN, prepare
from tests.processes import running

MANAGE = ("manage.py",)
BATCH = 1000  # mails, the most that the API takes at once


@dataclass(frozen=True)
class Installation:
    """Tables, an administrator and, as time goes on, mail."""

    data: Path

    def prepare(self) -> None:
        """As after the first start."""
        prepare(self.data)

    def copy(self, data: Path) -> "Installation":
        """Another with the same data."""
        return Installation(shutil.copytree(self.data, data))

    def create_key(self) -> str:
        """An API key that may send."""
        return self._manage("create_api_key", "bench", "--scope", "emails:send").strip()

    def queue(self, count: int) -> None:
        """Queue so many mails, in batches, with nobody to deliver them."""
        key = self.create_key()
        with self.served(DELIVERY_WORKER="external") as url:
            for begin in range(0, count, BATCH):
                post(Request(f"{url}/api/emails/batch", key, {"emails": [MAIL] * min(BATCH, count - begin)}))

    @contextmanager
    def served(self, *program: str, **env: str) -> Iterator[str]:
        """`manage.py serve`, or another `program` with its options, without its access log. Gives the address."""
        command, all_env = [*(program or MANAGE), "serve", *LISTEN], {**self._env(), **env}
        with running(command, log=self.data / "log", env=all_env, own_session=False) as server:  # as the peers have none
            yield server.url

    def deliver(self, email_url: str) -> float:
        """Deliver what is queued, in a process of its own. Gives mails/s."""
        queued = self.left()
        env = {**self._env(), "DJANGO_SETTINGS_MODULE": "project.settings", "EMAIL_URL": email_url}
        seconds = float(run([sys.executable, "-m", "bench.drain"], env=env))
        if left := self.left():
            raise SystemExit(f"{left} of {queued} mails were not delivered.")
        return queued / seconds

    def delivered(self) -> float:
        """Mails/s, by what the events say: from the first that was claimed to the last that was sent."""
        query = """
            SELECT COUNT(*) FILTER (WHERE type = 'email.sent'), MIN(created_at) FILTER (WHERE type = 'email.sending'),
            MAX(created_at) FILTER (WHERE type = 'email.sent') FROM events_event
        """
        with closing(sqlite3.connect(self.data / "mailrail.sqlite3")) as connection:
            count, began, ended = connection.execute(query).fetchone()
        return float(count / (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())

    def left(self) -> int:
        """How many mails are not sent yet."""
        return self._count("status <> 'sent'")

    def sent(self) -> int:
        """How many mails are."""
        return self._count("status = 'sent'")

    def _count(self, condition: str) -> int:
        with closing(sqlite3.connect(self.data / "mailrail.sqlite3")) as connection:
            return int(connection.execute(f"SELECT COUNT(*) FROM emails_email WHERE {condition}").fetchone()[0])  # noqa: S608

    def _manage(self, *arguments: str, **env: str) -> str:
        return run([sys.executable, "manage.py", *arguments], env={**self._env(), **env})

    def _env(self) -> dict[str, str]:
        return {**ENV, "DATA_DIR": str(self.data)}
