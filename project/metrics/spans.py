"""Spans of deliveries. An email's trace continues that of the request which submitted it, also in another process and days later.

OpenTelemetry's API does nothing unless project.config.traces has started the SDK.
"""

from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACE_PARENT_LENGTH = 55  # of W3C's header `traceparent`, version 00

_tracer = trace.get_tracer("mailrail")
_propagator = TraceContextTextMapPropagator()


def current_trace_parent() -> str | None:
    """Return the current span in the form of the header `traceparent`, or None if there is no trace."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def is_tracing() -> bool:
    """Return whether the SDK has been started. Without it, starting a span for nothing would take half as long as sending."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def delivery_span(trace_parent: str | None, *, email_id: str, attempt: int) -> AbstractContextManager[Span]:
    """Open the span of one attempt to send an email."""
    if not is_tracing():
        return nullcontext(trace.INVALID_SPAN)
    context = _propagator.extract({"traceparent": trace_parent}, Context()) if trace_parent else Context()
    attributes: dict[str, str | int] = {"mailrail.email_id": email_id, "mailrail.attempt": attempt}
    return _tracer.start_as_current_span("send email", context, SpanKind.CLIENT, attributes)


def set_result(span: Span, *, relay: str, smtp_code: int | None, is_error: bool) -> None:
    """Add the relay and its reply to the span of an attempt."""
    span.set_attribute("mailrail.relay", relay)
    if smtp_code is not None:
        span.set_attribute("mailrail.smtp_code", smtp_code)
    if is_error:
        span.set_status(StatusCode.ERROR)
