"""OpenTelemetry traces: what is removed from spans, and a missing package."""

import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from project.config.traces import _without_personal_data, redacted_attributes, start_traces


@pytest.mark.parametrize(
    ("name", "value", "redacted"),
    [
        ("url.path", "/people/ada%40example.com", "/people/…@…"),
        ("url.full", "https://mail.example.com/a?to=x", "https://mail.example.com/a"),
        ("http.target", "/a?q=secret", "/a"),
        ("http.request.header.authorization", "Bearer 0123456789abcdef0123", "Bearer …"),
        ("mailrail.attempt", 2, 2),
    ],
)
def test_removes_personal_data_from_attributes(name: str, value: Any, redacted: Any) -> None:
    assert redacted_attributes({name: value}) == {name: redacted}


def test_removes_queries() -> None:
    assert redacted_attributes({"url.query": "to=ada%40example.com"}) == {}
    assert redacted_attributes(None) == {}


def test_removes_personal_data_from_names_errors_and_events() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_without_personal_data(exporter)))

    with (
        pytest.raises(ValueError, match="no good"),
        provider.get_tracer("test").start_as_current_span("GET /people/ada@example.com") as span,
    ):
        raise ValueError("ada@" + "example.com is no good")

    (exported,) = exporter.get_finished_spans()
    assert exported.context == span.get_span_context()
    assert exported.name == "GET /people/…@…"
    assert exported.status.description == "ValueError: …@… is no good"
    assert (exported.events[0].attributes or {})["exception.message"] == "…@… is no good"
    provider.shutdown()


def test_a_missing_extra_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(SystemExit, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set, but .* pip install 'mailrail\[otel\]'"):
        start_traces("http://localhost:4318")


def test_without_an_endpoint_nothing_is_traced() -> None:
    start_traces(None)

    assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider"
