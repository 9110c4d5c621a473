"""Exports OpenTelemetry traces if OTEL_EXPORTER_OTLP_ENDPOINT is set. Needs the extra `otel`.

FastAPI makes spans of its requests by itself, and opentelemetry-instrumentation-django those of Django, once there is a global
tracer provider. The SDK reads all other variables that begin with OTEL_, such as OTEL_TRACES_SAMPLER and
OTEL_EXPORTER_OTLP_HEADERS.
"""

import os
from typing import Any

from project.config.log_redaction import redact

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
MISSING_EXTRA = f"{ENDPOINT} is set, but OpenTelemetry's SDK is missing. Install the extra: pip install 'mailrail[otel]'"
EXPORT_TIMEOUT_SECONDS = 5.0
URL_ATTRIBUTES = frozenset({"http.url", "http.target", "url.full", "url.path"})
QUERY_ATTRIBUTES = frozenset({"url.query"})  # a query may contain a recipient or a text


def start_traces(endpoint: str | None) -> None:
    """Export spans to `endpoint` over OTLP and HTTP. Exits if the extra is missing."""
    if endpoint is None:
        return
    try:  # imported here, because they are optional
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.django import DjangoInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SystemExit(MISSING_EXTRA) from None
    from opentelemetry import trace

    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "mailrail")}))
    exporter = OTLPSpanExporter(timeout=EXPORT_TIMEOUT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(_without_personal_data(exporter)))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(tracer_provider=provider)


def _without_personal_data(exporter: Any) -> Any:
    """Return an exporter that removes addresses, secrets and queries from spans, and passes them to `exporter`."""
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    def redacted_span(span: Any) -> Any:
        return ReadableSpan(
            name=redact(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=redacted_attributes(span.attributes),
            events=[Event(each.name, redacted_attributes(each.attributes), each.timestamp) for each in span.events],
            links=span.links,
            kind=span.kind,
            status=type(span.status)(span.status.status_code, redact(span.status.description or "") or None),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    class RedactingExporter(SpanExporter):  # type: ignore[misc,unused-ignore]  # the package may be missing
        """Removes personal data from spans."""

        def export(self, spans: Any) -> Any:
            return exporter.export([redacted_span(span) for span in spans])

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return bool(exporter.force_flush(timeout_millis))

    return RedactingExporter()


def redacted_attributes(attributes: Any) -> dict[str, Any]:
    """Return a span's attributes without addresses, secrets and queries. A URL loses its query."""
    changed = {}
    for name, value in (attributes or {}).items():
        if name in QUERY_ATTRIBUTES:
            continue
        if isinstance(value, str):
            value = value.partition("?")[0] if name in URL_ATTRIBUTES else value  # noqa: PLW2901
            changed[name] = redact(value)
        else:
            changed[name] = value
    return changed
