"""The landing page with the service status, open to everyone, and the playground for logged-in staff."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from project.dashboard.stats import oldest_queued_at, relay_outages
from project.events.selectors import last_event_id
from project.transports.factory import delivers_only_locally
from project.transports.simulator import DOMAIN

QUEUE_DELAY_WARNING = timedelta(minutes=2)  # if the oldest queued email waits longer, the status is "Delayed"


@dataclass(frozen=True)
class ServiceStatus:
    """Public status of the service. It reveals no detail of the installation."""

    name: str
    label: str
    description: str


OPERATIONAL = ServiceStatus("operational", "Operational", "Emails are delivered as they come in.")
DELAYED = ServiceStatus("delayed", "Delayed", "Emails are accepted, but delivery takes longer than usual.")
PAUSED = ServiceStatus("paused", "Paused", "Emails are accepted and stay queued until the relay is available again.")
DOWN = ServiceStatus("down", "Down", "The database is not available.")


def landing(request: HttpRequest) -> HttpResponse:
    """Render the landing page: a description, the service status and links."""
    context = {"status": service_status(), "needs_key": not delivers_only_locally(), "api_docs": settings.API_DOCS}
    return render(request, "landing.html", context)


def playground(request: HttpRequest) -> HttpResponse:
    """Render a form that sends an email and follows its delivery. `project.urls` restricts the page to admin users."""
    local_only = delivers_only_locally()
    context = {
        "local_only": local_only,
        "from_address": "Playground <play@example.com>" if local_only else settings.DEFAULT_FROM_EMAIL,
        "simulator_domain": DOMAIN,
        "cursor": last_event_id(),
        "api_docs": settings.API_DOCS,
    }
    return render(request, "playground.html", context)


def service_status() -> ServiceStatus:
    """Return the current status of the service."""
    try:
        if relay_outages():
            return PAUSED
        oldest = oldest_queued_at()
    except DatabaseError:
        return DOWN
    return DELAYED if oldest is not None and timezone.now() - oldest > QUEUE_DELAY_WARNING else OPERATIONAL
