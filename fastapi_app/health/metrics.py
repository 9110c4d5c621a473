"""Prometheus metrics: the counters of this process, and the current state of the queue."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Annotated

from django.conf import settings
from fastapi import Depends, Response
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fastapi_app.dependencies import identify_caller, session_scheme
from project.auth.principal import InsufficientScope, NotAuthenticated
from project.delivery.queue_stats import QueueStats

metrics_scheme = HTTPBearer(
    scheme_name="metrics_token",
    auto_error=False,
    description="Only for `GET /metrics`: the value of the setting `METRICS_TOKEN`. Not an API key or an access token.",
)


async def require_metrics_access(
    connection: HTTPConnection,
    response: Response,
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(metrics_scheme)],
    _session: Annotated[str | None, Depends(session_scheme)],
) -> None:
    """Allow `METRICS_TOKEN` and staff sessions. Raises `NotAuthenticated`, `InsufficientScope`."""
    if token is not None and _is_metrics_token(token.credentials):
        return
    principal = await identify_caller(connection, response)
    if principal is None:
        raise NotAuthenticated("Not authenticated.")
    if principal.kind != "session" or not principal.can_view_all:
        raise InsufficientScope(
            "Metrics require METRICS_TOKEN, or the session of a staff user with the permission to view emails."
        )


def _is_metrics_token(credentials: str) -> bool:
    token = settings.ENV.metrics_token
    return token is not None and compare_digest(credentials.encode(), token.get_secret_value().encode())


@dataclass(frozen=True, eq=False)  # a registry uses the collector as a dict key
class QueueCollector(Collector):
    """Gauges of the queue at one moment."""

    stats: QueueStats
    subscribers: int

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        emails = GaugeMetricFamily("mailrail_emails", "Emails by status, except sent ones", labels=["status"])
        for status, count in self.stats.counts_by_status.items():
            emails.add_metric([status], count)
        oldest = self.stats.oldest_due_at
        age = 0.0 if oldest is None else max(0.0, (datetime.now(UTC) - oldest).total_seconds())
        paused = int(self.stats.is_relay_paused)
        yield emails
        yield GaugeMetricFamily(
            "mailrail_queue_age_seconds", "Time since when the email that has waited longest is due", value=age
        )
        yield GaugeMetricFamily("mailrail_relay_paused", "1 while the relay is unavailable and delivery is paused", value=paused)
        yield GaugeMetricFamily("mailrail_event_subscribers", "Open WebSockets and streams of events", value=self.subscribers)


def render_metrics(collector: QueueCollector) -> bytes:
    """Return all metrics in Prometheus' text format, including the metrics of the process."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(REGISTRY) + generate_latest(registry)
