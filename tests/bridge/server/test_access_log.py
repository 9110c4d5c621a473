"""The access log: its lines, and the client's address in them."""

import sys
from typing import Any

import pytest
from daphne.access import AccessLogGenerator

from project.bridge.server.access_log import log_access, select_access_logger, with_client_address

RESPONSE = {"method": "GET", "path": "/a", "status": 200, "size": 12, "time_taken": 0.25, "client": "127.0.0.1:5"}


def test_logs_a_response_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        log_access("http", "complete", RESPONSE)

    (record,) = caplog.records
    fields = {name: vars(record)[name] for name in ("method", "path", "status_code", "response_bytes", "seconds")}
    assert record.getMessage() == "GET /a 200"
    assert fields == {"method": "GET", "path": "/a", "status_code": 200, "response_bytes": 12, "seconds": 0.25}


def test_logs_a_websocket_when_it_is_accepted_or_rejected_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        for action in ("connecting", "connected", "rejected", "disconnected"):
            log_access("websocket", action, {"path": "/ws"})

    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["WebSocket /ws connected", "WebSocket /ws rejected", "WebSocket /ws disconnected"]


@pytest.mark.parametrize(
    ("peer", "address", "client"),
    [
        ("127.0.0.1:5", "198.51.100.7", "198.51.100.7"),  # behind a proxy
        (None, "198.51.100.7", "198.51.100.7"),  # behind a proxy on a Unix socket
        ("127.0.0.1:5", "127.0.0.1", "127.0.0.1:5"),
        ("::1:5", "::1", "::1:5"),
        ("127.0.0.1:5", None, "127.0.0.1:5"),
        (None, None, None),
    ],
)
def test_has_the_clients_address_as_the_proxy_told_it(peer: str | None, address: str | None, client: str | None) -> None:
    assert with_client_address({"client": peer}, address) == {"client": client}


def test_replaces_only_an_access_log_on_stdout() -> None:
    def own(_protocol: str, _action: str, _details: Any) -> None: ...

    on_stdout, in_a_file = AccessLogGenerator(sys.stdout), AccessLogGenerator(object())

    selected = [select_access_logger(each, own) for each in (on_stdout, in_a_file, None)]

    assert selected == [own, in_a_file, None]
    assert select_access_logger(on_stdout, None) is on_stdout
