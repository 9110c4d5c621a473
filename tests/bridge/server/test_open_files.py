"""The limit of open files. tests/servers/bridge/test_idle_connections.py tests it in a server."""

import pytest
from twisted.logger import Logger

from project.bridge.server.open_files import log_accept_failures, max_connections


@pytest.mark.parametrize(("open_files", "connections"), [(20, 16), (200, 118), (1024, 736), (1_048_576, 786_400)])
def test_leaves_files_for_everything_else(open_files: int, connections: int) -> None:
    assert max_connections(open_files) == connections


def test_logs_refused_connections_once(caplog: pytest.LogCaptureFixture) -> None:
    log_accept_failures()
    twisted_logger = Logger(namespace="twisted.internet.tcp.Port")

    for _ in range(50):
        twisted_logger.info("Could not accept new connection ({acceptError})", acceptError="ENFILE")

    (record,) = caplog.records
    assert record.getMessage().startswith("Cannot accept connections (ENFILE). The limit of open files is ")
