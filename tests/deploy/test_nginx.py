"""nginx with the configuration of deploy/nginx, in front of two servers."""

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.databases import copy_installation
from tests.nginx import NGINX, nginx
from tests.processes import WAIT_TIMEOUT_SECONDS, Server, free_port, wait_for

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx)")

EMAIL = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Your order", "text": "Thanks."}
HOST = "mail.example.com"
INSECURE = ssl.create_default_context()
INSECURE.check_hostname, INSECURE.verify_mode = False, ssl.CERT_NONE


class Site:
    """Two servers behind nginx, and a client of nginx."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._env = {"DATA_DIR": str(data), "PUBLIC_URL": f"https://{HOST}", "TRUSTED_PROXIES": "127.0.0.1"}
        self._env |= {"DELIVERY_WORKER": "external"}
        self._folder = folder
        self.port = 0
        self.servers = [self._start(free_port()) for _ in range(2)]
        for server in self.servers:
            server.wait_until_it_listens()

    def _start(self, port: int) -> Server:
        command = ["manage.py", "serve", "-b", "127.0.0.1", "-p", str(port)]
        server = Server(command, log=self._folder / f"log.{port}", env=self._env)
        server.port = port
        return server

    @property
    def nginx_log(self) -> str:
        """Return what nginx has logged."""
        return (self._folder / "nginx.log").read_text()

    def restart(self, number: int) -> None:
        """Stop a server as a deployment does, and start it again on the same port."""
        old = self.servers[number]
        assert old.terminate() == 0
        self.servers[number] = self._start(old.port)
        self.servers[number].wait_until_it_listens()

    def client(self, **headers: str) -> httpx.Client:
        """Return a client of nginx."""
        url = f"https://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, verify=INSECURE, headers={"Host": HOST, **headers}, timeout=WAIT_TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def site(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run two servers behind nginx for all tests of this module."""
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        site = Site(copy_installation(installation, folder / "data"), folder)
        stack.callback(lambda: [server.terminate() for server in site.servers])
        site.port = stack.enter_context(nginx(folder, site.servers))
        yield site


def test_the_servers_see_https_and_the_public_host(site: Site) -> None:
    with site.client() as client:
        response = client.get("/admin/login/")

    assert response.status_code == 200
    assert "max-age" in response.headers["Strict-Transport-Security"]
    assert response.headers["Set-Cookie"].startswith("__Host-")


def test_a_websocket_passes(site: Site) -> None:
    connection = socket.create_connection(("127.0.0.1", site.port), WAIT_TIMEOUT_SECONDS)
    with connect(f"wss://{HOST}/api/ws", ssl=INSECURE, sock=connection) as websocket:
        websocket.send("Hello")
        assert "Hello" in str(websocket.recv(WAIT_TIMEOUT_SECONDS))


@pytest.mark.parametrize(("size", "status"), [(8 * 1024 * 1024, 202), (15_800_000, 413)], ids=["accepted", "too large"])
def test_mailrail_limits_the_size_of_a_request(site: Site, api_key: str, size: int, status: int) -> None:
    with site.client(Authorization=f"Bearer {api_key}") as client:
        response = client.post("/api/emails", json=EMAIL | {"text": "x" * size})

    assert (response.status_code, "detail" in response.json() if status == 413 else True) == (status, True)


def test_a_rolling_restart_loses_no_request(site: Site, api_key: str) -> None:
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def send() -> None:
        with site.client(Authorization=f"Bearer {api_key}") as client:
            while not stop.is_set():
                statuses[client.post("/api/emails", json=EMAIL).status_code] += 1

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2):
        before = statuses.total()
        wait_for(lambda before=before: statuses.total() > before + 20, "emails are accepted")  # type: ignore[misc]
        site.restart(number)
    stop.set()
    for thread in threads:
        thread.join()

    assert set(statuses) == {202}, site.nginx_log
    assert statuses[202] > 40
