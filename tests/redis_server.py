"""A real Redis for tests, from Debian's package: a server of its own in a temporary folder, on a free port, with a password."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis import Redis
from redis.exceptions import ConnectionError as NotThere

from tests.processes import free_port, wait_for

PROGRAM = shutil.which("redis-server")
PASSWORD = "open-sesame-7311"


class RedisServer:
    """A server. It can be killed, and started again with nothing left of what it knew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        assert PROGRAM is not None
        options = ["--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "", "--appendonly", "no", "--daemonize", "no"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, "--port", str(self.port), *options], cwd=self.folder, stdout=log)
        wait_for(self.answers, "Redis answers")

    def answers(self) -> bool:
        """Whether it does."""
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except NotThere:
            return False

    def channels(self) -> list[bytes]:
        """Those that somebody listens to."""
        with Redis.from_url(self.url) as client:
            return list(client.pubsub_channels())

    def keys(self) -> list[bytes]:
        """All that it keeps."""
        with Redis.from_url(self.url) as client:
            return list(client.keys())

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A server that runs until the end of the block."""
    with TemporaryDirectory(prefix="mailrail-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
