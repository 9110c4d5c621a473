"""Metrics of real processes: a server and its worker together, on the web server's route and on a port of its own."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import PASSWORD, StartServer
from tests.processes import Server, free_port, wait_for
from tests.smtp import Sink

TOKEN = "prometheus-prometheus"
EMAIL = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "It is on its way."}


def read(url: str) -> dict[tuple[str, ...], float]:
    """Get metrics, and return them as {(name, *label values): value}."""
    text = httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60).raise_for_status().text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def send(server: Server) -> None:
    """Send an email as the administrator."""
    form = {"username": "admin", "password": PASSWORD}
    token = server.post("/api/token", data=form).json()["access_token"]
    server.post("/api/emails", json=EMAIL, headers={"Authorization": f"Bearer {token}"}).raise_for_status()


def test_a_server_and_its_worker_share_their_metrics(start: StartServer, sink: Sink) -> None:
    port, relay = free_port(), f"127.0.0.1:{sink.port}"
    server = start(EMAIL_URL=sink.url, METRICS_TOKEN=TOKEN, METRICS_PORT=str(port))
    send(server)
    web, own = f"{server.url}/api/metrics", f"http://127.0.0.1:{port}/metrics"
    wait_for(lambda: ("mailrail_events_total", "email.sent") in read(own), "the email is counted")

    metrics = read(web)

    assert metrics["mailrail_emails_accepted_total", "normal"] == metrics["mailrail_events_total", "email.sent"] == 1
    assert metrics["mailrail_http_request_duration_seconds_count", "POST", "/api/emails", "202"] == 1
    assert metrics["mailrail_smtp_reply_seconds_count", relay] == metrics["mailrail_smtp_connect_seconds_count", relay] == 1
    assert metrics["mailrail_thread_wait_seconds_count", "database"] > 0
    assert (metrics["mailrail_database_up",], metrics["mailrail_delivery_workers",]) == (1, 1)
    assert metrics["mailrail_open_connections",] >= 1
    # Two processes with Python and Django need more memory together than one.
    assert metrics["process_resident_memory_bytes",] > 100_000_000
    assert metrics.keys() <= read(own).keys()


def test_several_server_processes_share_their_metrics(start: StartServer) -> None:
    port = free_port()
    server = start("processes", METRICS_TOKEN=TOKEN, METRICS_PORT=str(port))

    for _ in range(20):  # each on a new connection, which any of the processes accepts
        server.get("/api/health/live")

    counted = ("mailrail_http_request_duration_seconds_count", "GET", "/api/health/live", "200")
    assert read(f"http://127.0.0.1:{port}/metrics")[counted] == 20
    assert {read(f"{server.url}/api/metrics")[counted] for _ in range(4)} == {20}
