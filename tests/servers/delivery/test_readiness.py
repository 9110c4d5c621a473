"""Readiness of a real server whose emails are delivered by a separate `manage.py deliver`. Leases last only three seconds."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.databases import copy_installation, locked
from tests.processes import SERVERS, Server, running, wait_for

NODE = "127.0.0.5"
POD = "10.20.1.3:8000"
MAX_FILE_BYTES = 64 * 1024  # a file size that the log does not reach, and that the database has passed


@pytest.fixture(scope="module")
def data(installation: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data directory of the server of this module."""
    return copy_installation(installation, tmp_path_factory.mktemp("readiness") / "data")


@pytest.fixture(scope="module")
def server(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with an external delivery worker."""
    env = {"DATA_DIR": str(data), "DELIVERY_WORKER": "external", "HEALTH_ALLOWED_NETWORKS": NODE}
    with running(SERVERS["serve"], log=tmp_path_factory.mktemp("log") / "log", env=env) as server:
        yield server


@contextmanager
def delivering(data: Path, log: Path) -> Iterator[Server]:
    """Run a delivery worker, and kill it at the end."""
    process = Server(["manage.py", "deliver", "--lease-seconds", "3"], log=log, env={"DATA_DIR": str(data)})
    try:
        yield process
    finally:
        process.kill()


def readiness(server: Server) -> tuple[int, dict[str, str]]:
    """Return the status code and the checks."""
    response = server.get("/api/health/ready")
    return response.status_code, response.json()["checks"]


def is_ready(server: Server) -> bool:
    """Return whether the server is ready."""
    return readiness(server)[0] == 200


def fails(server: Server, check: str) -> Callable[[], bool]:
    """Return a condition: the server is not ready because of this check."""

    def is_failing() -> bool:
        code, checks = readiness(server)
        return code == 503 and checks[check] != "ok"

    return is_failing


def test_a_worker_that_does_not_run_or_stands_still_makes_the_server_unready(server: Server, data: Path, tmp_path: Path) -> None:
    without = readiness(server)
    with delivering(data, tmp_path / "log") as worker:
        wait_for(lambda: is_ready(server), "the worker runs", lambda: worker.log)
        worker.process.send_signal(signal.SIGSTOP)
        wait_for(fails(server, "delivery"), "the server notices that the worker stands still")
        worker.process.send_signal(signal.SIGCONT)
        wait_for(lambda: is_ready(server), "the worker continues")
        worker.kill()
        wait_for(fails(server, "delivery"), "the server notices that the worker was killed")

    assert without == (503, {"database": "ok", "channel_layer": "ok", "delivery": "no delivery worker is running"})


def test_a_database_that_another_process_has_locked_makes_the_server_unready(server: Server, data: Path) -> None:
    with locked(data, "delivery_writeprobe"):
        wait_for(fails(server, "database"), "the server notices the lock")
        live = server.get("/api/health/live").status_code
    wait_for(lambda: readiness(server)[1]["database"] == "ok", "the database accepts writes")

    assert live == 200


@pytest.mark.sqlite_only("the disk that is full has the SQLite file")
def test_a_full_disk_makes_the_server_unready(server: Server) -> None:
    # As on a full disk, writes fail that would make a file larger.
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, limits[1]))
    try:
        wait_for(fails(server, "database"), "writes fail", lambda: str(readiness(server)))
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)

    wait_for(lambda: readiness(server)[1]["database"] == "ok", "writes work again")


def test_head_has_the_status_of_get_and_no_body(server: Server) -> None:
    for path in ("/api/health/live", "/api/health/ready"):
        head = httpx.head(server.url + path)

        assert (head.status_code, head.content) == (server.get(path).status_code, b"")


def test_a_kubernetes_probe_sends_the_address_of_the_pod_as_its_host(server: Server) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=NODE), headers={"Host": POD}) as node:
        from_node = [node.get(f"{server.url}{path}").status_code for path in ("/api/health/live", "/api/")]
    from_elsewhere = server.get("/api/health/live", headers={"Host": POD})

    assert (from_node, from_elsewhere.json()["code"]) == ([200, 400], "bad_host")
