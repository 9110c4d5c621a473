"""The pages before the back office: what this is and how it stands, for anybody; and the playground, for who is signed in."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from project.dashboard.stats import oldest_queued_at, relay_outages
from project.events.selectors import last_event_id
from project.transports.factory import is_local_only
from project.transports.simulator import DOMAIN

QUEUE_DELAY_WARNING = timedelta(minutes=2)  # that a mail which could be sent has waited


@dataclass(frozen=True)
class ServiceStatus:
    """How the service stands, in a word and a sentence that tell strangers nothing."""

    name: str
    word: str
    sentence: str


WORKING = ServiceStatus("working", "Working", "Mail leaves as it comes in.")
BEHIND = ServiceStatus("behind", "Behind", "Mail is taken in, and waits longer than it should.")
PAUSED = ServiceStatus("paused", "Relay paused", "Mail is taken in, and leaves when the relay works again.")
DOWN = ServiceStatus("down", "Not working", "The database does not answer.")


def landing(request: HttpRequest) -> HttpResponse:
    """What this is, whether it works, and where to go."""
    return render(request, "landing.html", {"state": service_status(), "needs_key": not is_local_only()})


def playground(request: HttpRequest) -> HttpResponse:
    """Write a mail, and see what becomes of it. For who may enter the back office: project.urls."""
    stays_here = settings.EMAIL_BACKEND == settings.MAILBOX_BACKEND
    context = {
        "stays_here": stays_here,
        "sender": "Playground <play@example.com>" if stays_here else settings.DEFAULT_FROM_EMAIL,
        "domain": DOMAIN,
        "cursor": last_event_id(),
    }
    return render(request, "playground.html", context)


def service_status() -> ServiceStatus:
    """How it stands now."""
    try:
        if relay_outages():
            return PAUSED
        oldest = oldest_queued_at()
    except DatabaseError:
        return DOWN
    return BEHIND if oldest is not None and timezone.now() - oldest > QUEUE_DELAY_WARNING else WORKING
