"""A local HTTP server that stores what is posted to it: an OpenTelemetry collector, and a Sentry server."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

MAX_BODY_BYTES = 16 * 1024 * 1024


class Collector:
    """The requests so far, as (path, body), with the bodies decompressed."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.dsn = f"http://key@127.0.0.1:{port}/1"
        self.requests: list[tuple[str, bytes]] = []

    @property
    def spans(self) -> list[Any]:
        """The spans that were posted to /v1/traces."""
        bodies = [body for path, body in self.requests.copy() if path == "/v1/traces"]
        resources = [each for body in bodies for each in ExportTraceServiceRequest.FromString(body).resource_spans]
        return [span for each in resources for scope in each.scope_spans for span in scope.spans]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The error events in the envelopes that were posted for project 1."""
        envelopes = [body for path, body in self.requests.copy() if path == "/api/1/envelope/"]
        items = [line for envelope in envelopes for line in envelope.splitlines() if line.startswith(b"{")]
        return [event for item in items if "exception" in (event := json.loads(item))]


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            assert length < MAX_BODY_BYTES
            body = self.rfile.read(length)
            is_compressed = self.headers["Content-Encoding"] == "gzip"
            received.requests.append((self.path, gzip.decompress(body) if is_compressed else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Collector(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
