"""A site of two hosts behind nginx. Each host runs `serve --processes 2` and `deliver`, with a data directory of its own.

The hosts share only PostgreSQL, Redis and the relay, which run on this machine, as nginx does.
"""

import re
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.chaos.network import NetworkHost, network_hosts
from tests.conftest import prepare_installation
from tests.nginx import nginx
from tests.postgresql import PostgreSQL, cluster
from tests.processes import WAIT_TIMEOUT_SECONDS, Server
from tests.redis_server import PASSWORD, RedisServer, redis_server
from tests.smtp import Sink, smtp_sink

PUBLIC_HOST = "mail.example.com"
HOSTS = 2
CONNECTIONS = 10  # of each delivery worker to the relay
LEASE_SECONDS = 15  # instead of five minutes, but longer than a restart of PostgreSQL
PROBLEM = re.compile("WARNING|ERROR|CRITICAL|Error")
SHOWN_LINES = 20
INSECURE = ssl.create_default_context()
INSECURE.check_hostname, INSECURE.verify_mode = False, ssl.CERT_NONE


@dataclass(frozen=True)
class Services:
    """The services that the hosts share."""

    postgresql: PostgreSQL
    redis: RedisServer
    sink: Sink


class MailHost:
    """A host of the site: its web processes, and its delivery worker."""

    def __init__(self, network: NetworkHost, services: Services, folder: Path, secret_key: str) -> None:
        self.network = network
        self.folder = folder
        this, database = network.link.this_address, services.postgresql
        self.env = {
            "DATA_DIR": str(folder / "data"),
            "SECRET_KEY": secret_key,
            "DATABASE_URL": f"postgres://postgres@{this}:{database.port}/postgres",
            "REDIS_URL": f"redis://:{PASSWORD}@{this}:{services.redis.port}",
            "EMAIL_URL": f"smtp://{this}:{services.sink.port}?connections={CONNECTIONS}",
            "DELIVERY_WORKER": "external",
            "PUBLIC_URL": f"https://{PUBLIC_HOST}",
            "TRUSTED_PROXIES": this,
        }
        worker_database = f"postgres://postgres@{network.database_link.this_address}:{database.port}/postgres"
        self._worker_env = self.env | {"DATABASE_URL": worker_database}
        self.web: Server
        self.worker: Server
        self._started: list[Server] = []

    def start(self) -> None:
        """Start the web processes and the delivery worker."""
        (self.folder / "data").mkdir(parents=True)
        command = ["manage.py", "serve", "-b", self.network.link.host_address, "-p", "{port}", "--processes", "2"]
        self.web = self._start(command, "log.serve", self.env)
        self.start_worker()

    def start_worker(self) -> None:
        """Start the delivery worker, as its service does after a crash."""
        command = ["manage.py", "deliver", "--lease-seconds", str(LEASE_SECONDS)]
        self.worker = self._start(command, "log.deliver", self._worker_env)

    def stop(self) -> None:
        """Stop all processes."""
        for server in self._started:
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.process.terminate()
        for server in self._started:
            server.wait()

    def _start(self, command: list[str], log: str, env: dict[str, str]) -> Server:
        server = Server(command, log=self.folder / log, env=env, host=self.network.host)
        self._started.append(server)
        return server


@dataclass(frozen=True)
class Site:
    """The whole site. `key` is an API key, and `port` is nginx's port for HTTPS."""

    services: Services
    hosts: list[MailHost]
    port: int
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        return {"Host": PUBLIC_HOST, "Authorization": f"Bearer {self.key}"}

    def client(self) -> httpx.Client:
        """Return a client of nginx."""
        url = f"https://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, verify=INSECURE, headers=self.headers, timeout=WAIT_TIMEOUT_SECONDS)

    def sent(self) -> int:
        """Return how many emails the relay has received, copies included."""
        return len(self.services.sink.message_ids)

    @property
    def logs(self) -> str:
        """The last problems that the processes have logged, after the numbers of emails by status."""
        paths = [path for host in self.hosts for path in sorted(host.folder.glob("log.*"))]
        lines = {path: [line for line in path.read_text().splitlines() if PROBLEM.search(line)] for path in paths}
        statuses = self.services.postgresql.query("SELECT status, count(*) FROM emails_email GROUP BY status")
        return "\n".join([statuses, *(f"{path}:\n" + "\n".join(lines[path][-SHOWN_LINES:]) for path in paths)])


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Run the site until the end of the `with` block."""
    with ExitStack() as stack:
        networks = stack.enter_context(network_hosts(HOSTS))
        links = [network.link.this_address for network in networks]
        database_links = [network.database_link.this_address for network in networks]
        services = Services(
            stack.enter_context(cluster([*links, *database_links])),
            stack.enter_context(redis_server(links)),
            stack.enter_context(smtp_sink(addresses=links)),
        )
        secret_key = "a secret key of the site, which is the same on both hosts"
        shared = {"DATABASE_URL": services.postgresql.url, "SECRET_KEY": secret_key}
        [key] = prepare_installation({"DATA_DIR": str(folder), **shared})
        hosts = [MailHost(network, services, folder / f"host{number}", secret_key) for number, network in enumerate(networks)]
        for host in hosts:
            stack.callback(host.stop)
            host.start()
        for host in hosts:
            host.web.wait_until_it_listens()
        port = stack.enter_context(nginx(folder, [host.web for host in hosts]))
        yield Site(services, hosts, port, key)
