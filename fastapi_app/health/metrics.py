"""Metrics in Prometheus' text format: what this process counted, and how the queue stands now."""

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

from fastapi_app.dependencies import optional_caller, session_scheme
from project.auth.principal import InsufficientScope, NotAuthenticated
from project.delivery.queue_stats import QueueStats

metrics_scheme = HTTPBearer(
    scheme_name="metrics", auto_error=False, description="`METRICS_TOKEN`: no API key, and no access token."
)


async def require_metrics_access(
    connection: HTTPConnection,
    response: Response,
    token: Annotated[HTTPAuthorizationCredentials | None, Depends(metrics_scheme)],
    session: Annotated[str | None, Depends(session_scheme)],
) -> None:
    """Let in who has `METRICS_TOKEN`, or a staff session. Raises `NotAuthenticated`, `MissingScope`."""
    if token is not None and _is_metrics_token(token.credentials):
        return
    principal = await optional_caller(connection, response, None, session)
    if principal is None:
        raise NotAuthenticated("Not authenticated.")
    if principal.kind != "session" or not principal.can_view_all:
        raise InsufficientScope("Metrics are for staff who are signed in and may see mails, and for METRICS_TOKEN.")


def _is_metrics_token(given: str) -> bool:
    token = settings.ENV.metrics_token
    return token is not None and compare_digest(given.encode(), token.get_secret_value().encode())


@dataclass(frozen=True, eq=False)  # a registry keeps it in a dict
class QueueCollector(Collector):
    """How it stands at one moment."""

    backlog: QueueStats
    subscribers: int

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """For Prometheus."""
        mails = GaugeMetricFamily("mailrail_mails", "Mails by status, but for those that were sent", labels=["status"])
        for status, count in self.backlog.mails.items():
            mails.add_metric([status], count)
        since = self.backlog.waits_since
        age = 0.0 if since is None else max(0.0, (datetime.now(UTC) - since).total_seconds())
        yield mails
        yield GaugeMetricFamily("mailrail_queue_age_seconds", "How long the oldest queued mail has waited", value=age)
        yield GaugeMetricFamily("mailrail_relay_paused", "Whether the relay is given a pause", value=int(self.backlog.is_paused))
        yield GaugeMetricFamily("mailrail_followers", "Sockets and streams that follow events", value=self.subscribers)


def render_metrics(standing: QueueCollector) -> bytes:
    """All of it, and what Prometheus' client tells of the process."""
    now = CollectorRegistry()
    now.register(standing)
    return generate_latest(REGISTRY) + generate_latest(now)
