"""The log of real processes as JSON: each line is one object, and a request id follows an email to the relay's reply."""

import json
from typing import Any

from tests.conftest import PASSWORD, StartServer
from tests.processes import Server
from tests.smtp import Sink

EMAIL = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "It is on its way."}
PROXIED = {"X-Request-ID": "checkout-4711", "X-Forwarded-For": "198.51.100.7"}


def lines(server: Server) -> list[dict[str, Any]]:
    """Return all lines of the server's output, which must be JSON."""
    return [json.loads(line) for line in server.log.splitlines()]


def test_a_request_id_follows_an_email_to_the_relays_reply(start: StartServer, sink: Sink) -> None:
    server = start(EMAIL_URL=sink.url, LOG_FORMAT="json", TRUSTED_PROXIES="127.0.0.1")
    form = {"username": "admin", "password": PASSWORD}
    token = server.post("/api/token", data=form).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", **PROXIED}

    response = server.post("/api/emails", json=EMAIL, headers=headers)
    missing = server.get("/missing/ada@example.com", headers=PROXIED | {"X-Request-ID": "request-2"})
    server.wait_for_log("Email sent successfully")

    assert [each.headers["X-Request-ID"] for each in (response, missing)] == ["checkout-4711", "request-2"]
    (sent,) = [line for line in lines(server) if line["event"] == "Email sent successfully"]
    assert (sent["email_id"], sent["request_id"]) == (response.json()["id"], "checkout-4711")
    assert (sent["relay"], sent["smtp_code"], sent["attempt"]) == (f"127.0.0.1:{sink.port}", 250, 1)
    assert 0 < sent["seconds"] < 60
    assert sent["process_id"] != server.process.pid  # the worker is a process of its own
    (access,) = [line for line in lines(server) if line["event"] == "POST /api/emails 202"]
    assert (access["request_id"], access["client_address"], access["status_code"]) == ("checkout-4711", "198.51.100.7", 202)
    (not_found,) = [line for line in lines(server) if line["logger"] == "django.request"]
    assert (not_found["request_id"], not_found["client_address"]) == ("request-2", "198.51.100.7")
    assert (not_found["event"], not_found["process_id"]) == ("Not Found: /missing/…@…", server.process.pid)
    assert server.terminate() == 0
    assert all(line["timestamp"].endswith("Z") for line in lines(server))
