"""The peers' virtual environment and data."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import listening, run
from tests.processes import ROOT

FOLDER = ROOT / "build" / "bench-peers"
REQUIREMENTS = ROOT / "bench" / "requirements-peers.txt"
KEY = "the-key-of-the-peers"


@dataclass(frozen=True)
class Peers:
    """An installation of the peers with its own data folder."""

    data: Path

    def prepare(self) -> None:
        """Create the tables. Create the virtual environment if it does not exist."""
        _make_environment()
        self.data.mkdir()
        self._python("-m", "django", "migrate", "--verbosity", "0")

    def copy(self, data: Path) -> "Peers":
        """Return a copy with the same data."""
        return Peers(shutil.copytree(self.data, data))

    @contextmanager
    def served(self) -> Iterator[str]:
        """Run plain Daphne without an access log. Yield the base URL."""
        command = [_python(), "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", "{port}", "bench.peers.asgi:application"]
        with listening(command, log=self.data / "log", env=self._env()) as port:
            yield f"http://127.0.0.1:{port}"

    def queue(self, count: int) -> None:
        """Queue this many emails."""
        self._python("-m", "bench.peers.queue", str(count))

    def deliver(self, relay_port: int, *, processes: int = 1) -> float:
        """Deliver all queued emails. Return emails/s."""
        count, seconds = self._python("-m", "bench.peers.drain", str(processes), relay_port=relay_port).split()
        return int(count) / float(seconds)

    def _python(self, *arguments: str, relay_port: int = 25) -> str:
        return run([_python(), *arguments], env={**self._env(), "RELAY_PORT": str(relay_port)})

    def _env(self) -> dict[str, str]:
        return {"DATA_DIR": str(self.data), "DJANGO_SETTINGS_MODULE": "bench.peers.settings", "API_KEY": KEY}


def _python() -> str:
    return str(FOLDER / "bin" / "python")


def _make_environment() -> None:
    """Create the virtual environment, unless it exists with exactly these requirements."""
    requirements, stamp = REQUIREMENTS.read_text(), FOLDER / REQUIREMENTS.name
    if stamp.exists() and stamp.read_text() == requirements:
        return
    print(f"creating the peers' environment in {FOLDER.relative_to(ROOT)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
    subprocess.run([_python(), "-m", "pip", "install", "-qq", "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(requirements)
