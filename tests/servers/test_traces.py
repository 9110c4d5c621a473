"""Traces of real processes, sent to a local collector."""

from typing import Any

from tests.collector import collector
from tests.conftest import PASSWORD, StartServer
from tests.processes import wait_for
from tests.smtp import Sink

EMAIL = {"from": "shop@example.com", "to": "ada@example.com", "subject": "Hi", "text": "between-us"}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def attributes(span: Any) -> dict[str, Any]:
    """Return a span's attributes."""
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_trace_goes_from_the_caller_to_the_relays_reply(start: StartServer, sink: Sink) -> None:
    with collector() as receiver:
        server = start(EMAIL_URL=sink.url, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_BSP_SCHEDULE_DELAY="100")
        token = server.post("/api/token", data={"username": "admin", "password": PASSWORD}).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}", "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
        email_id = server.post("/api/emails", json=EMAIL, headers=headers).json()["id"]
        server.get("/api/emails?to=ada@example.com", headers=headers)
        server.get("/missing/ada@example.com?to=ada@example.com", headers=headers)
        server.get("/api/health/live", headers=headers)

        def traced() -> dict[str, Any]:
            return {span.name: span for span in receiver.spans if span.trace_id.hex() == TRACE_ID}

        names = {"POST /api/emails", "GET /api/emails", "send email"}
        wait_for(lambda: names <= traced().keys(), "the spans arrive", lambda: f"{traced().keys()} {server.log}")
        wait_for(lambda: len(traced()) == 4, "the span of the page arrives", lambda: str(traced().keys()))

        spans = traced()
        assert spans["send email"].parent_span_id == spans["POST /api/emails"].span_id
        sent = attributes(spans["send email"])
        assert (sent["mailrail.email_id"], sent["mailrail.attempt"], sent["mailrail.smtp_code"]) == (email_id, 1, 250)
        assert sent["mailrail.relay"] == f"127.0.0.1:{sink.port}"
        bodies = b"".join(body for _path, body in receiver.requests)
        assert [secret for secret in (b"ada@", b"between-us", token.encode()) if secret in bodies] == []
        assert server.terminate() == 0
