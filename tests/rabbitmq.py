"""A RabbitMQ node for tests, from Debian's package. It runs on free ports, with its data in a temporary directory."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import kombu

from tests.processes import free_port, wait_for

# The program itself: /usr/sbin/rabbitmq-server is a script that changes the user, and it only runs as root or rabbitmq.
PROGRAM = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin")


class RabbitMQ:
    """A node that can be killed and started again. It keeps its durable queues."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._distribution_port = free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.process: subprocess.Popen[bytes] | None = None
        # The node would start a daemon that outlives it.
        self._port_mapper_port = free_port()
        self._port_mapper = subprocess.Popen(["epmd", "-port", str(self._port_mapper_port), "-address", "127.0.0.1"])

    def start(self) -> None:
        """Start the node, and wait until it accepts connections."""
        assert PROGRAM is not None
        env = {
            **os.environ,
            "HOME": str(self.folder),  # of the Erlang cookie
            "ERL_EPMD_PORT": str(self._port_mapper_port),
            "RABBITMQ_NODENAME": f"mailrail{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",  # one scheduler that does not spin
        }
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [PROGRAM], env=env, cwd=self.folder, stdout=output, stderr=output, start_new_session=True
            )
        wait_for(self.answers, "RabbitMQ answers", (self.folder / "output").read_text)

    def answers(self) -> bool:
        """Return whether the node accepts a connection."""
        try:
            with kombu.Connection(self.url, connect_timeout=1) as connection:
                connection.connect()
        except Exception:  # noqa: BLE001  # AMQP's errors of many kinds, while the node starts
            return False
        return True

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """Kill the node and its port mapper."""
        self.kill()
        self._port_mapper.kill()
        self._port_mapper.wait()


@contextmanager
def rabbitmq() -> Iterator[RabbitMQ]:
    """Run a node until the end of the `with` block."""
    with TemporaryDirectory(prefix="mailrail-rabbitmq-", ignore_cleanup_errors=True) as folder:
        node = RabbitMQ(Path(folder))
        try:
            node.start()
            yield node
        finally:
            node.close()
