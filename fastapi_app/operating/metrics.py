"""Metrics in Prometheus' text format: what this process counted, and how the queue stands now."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Annotated

from django.conf import settings
from fastapi import Depends, Response
from fastapi.requests import HTTPConnection
from fastapi.security.utils import get_authorization_scheme_param
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fastapi_app.deps import caller_if_any, session_scheme, token_scheme
from project.accounts.principal import MissingScope, NotAuthenticated
from project.outbox.backlog import Backlog


async def scraper(
    connection: HTTPConnection,
    response: Response,
    token: Annotated[str | None, Depends(token_scheme)],
    session: Annotated[str | None, Depends(session_scheme)],
) -> None:
    """Let in who has `METRICS_TOKEN`, or a staff session. Raises `NotAuthenticated`, `MissingScope`."""
    if _is_the_token(connection.headers.get("authorization")):
        return
    who = await caller_if_any(connection, response, token, session)
    if who is None:
        raise NotAuthenticated("Not authenticated.")
    if who.kind != "session" or not who.sees_all:
        raise MissingScope("Metrics are for staff who are signed in and may see mails, and for METRICS_TOKEN.")


def _is_the_token(header: str | None) -> bool:
    token = settings.ENV.metrics_token
    scheme, given = get_authorization_scheme_param(header)
    if token is None or scheme.lower() != "bearer":
        return False
    return compare_digest(given.encode(), token.get_secret_value().encode())


@dataclass(frozen=True, eq=False)  # a registry keeps it in a dict
class Standing(Collector):
    """How it stands at one moment."""

    backlog: Backlog
    followers: int

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
        yield GaugeMetricFamily("mailrail_followers", "Sockets and streams that follow events", value=self.followers)


def text(standing: Standing) -> bytes:
    """All of it, and what Prometheus' client tells of the process."""
    now = CollectorRegistry()
    now.register(standing)
    return generate_latest(REGISTRY) + generate_latest(now)
