"""A real Redis server for tests, from Debian's package. It runs in a temporary directory, on a free port, with a password."""

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.processes import free_port, wait_for

PROGRAM = shutil.which("redis-server")
PASSWORD = "open-sesame-7311"


class RedisServer:
    """A Redis server that can be killed and started again. It always starts with an empty data set."""

    def __init__(self, folder: Path, addresses: Sequence[str] = ()) -> None:
        """Create a server that other hosts reach at `addresses` of this host."""
        self.folder = folder
        self._addresses = ("127.0.0.1", *addresses)
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it responds."""
        assert PROGRAM is not None
        options = ["--bind", *self._addresses, "--requirepass", PASSWORD, "--save", "", "--appendonly", "no", "--daemonize", "no"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, "--port", str(self.port), *options], cwd=self.folder, stdout=log)
        wait_for(self.answers, "Redis answers")

    def answers(self) -> bool:
        """Return whether the server responds to a PING."""
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisConnectionError:
            return False

    def channels(self) -> list[bytes]:
        """Return the Redis channels that have subscribers."""
        with Redis.from_url(self.url) as client:
            return list(client.pubsub_channels())

    def keys(self) -> list[bytes]:
        """Return every key that is stored."""
        with Redis.from_url(self.url) as client:
            return list(client.keys())

    def flush(self) -> None:
        """Delete every key of every database."""
        with Redis.from_url(self.url) as client:
            client.flushall()

    def stop(self) -> None:
        """Send SIGSTOP: the kernel accepts connections, but nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def redis_server(addresses: Sequence[str] = ()) -> Iterator[RedisServer]:
    """Run a Redis server until the end of the `with` block. Other hosts reach it at `addresses` of this host."""
    with TemporaryDirectory(prefix="mailrail-redis-") as folder:
        server = RedisServer(Path(folder), addresses)
        server.start()
        try:
            yield server
        finally:
            server.kill()
