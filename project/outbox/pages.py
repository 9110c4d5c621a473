"""The pages before the back office: what this is and how it stands, for anybody; and the playground, for who is signed in."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from project.outbox import figures
from project.outbox.queries import last_event_id
from project.outbox.transports.choice import stays_here
from project.outbox.transports.simulator import DOMAIN

LONG = timedelta(minutes=2)  # that a mail which could be sent has waited


@dataclass(frozen=True)
class State:
    """How the service stands, in a word and a sentence that tell strangers nothing."""

    name: str
    word: str
    sentence: str


WORKING = State("working", "Working", "Mail leaves as it comes in.")
BEHIND = State("behind", "Behind", "Mail is taken in, and waits longer than it should.")
PAUSED = State("paused", "Relay paused", "Mail is taken in, and leaves when the relay works again.")
DOWN = State("down", "Not working", "The database does not answer.")


def landing(request: HttpRequest) -> HttpResponse:
    """What this is, whether it works, and where to go."""
    return render(request, "landing.html", {"state": state(), "needs_key": not stays_here()})


def play(request: HttpRequest) -> HttpResponse:
    """Write a mail, and see what becomes of it. For who may enter the back office: project.urls."""
    stays_here = settings.EMAIL_BACKEND == settings.MAILBOX_BACKEND
    context = {
        "stays_here": stays_here,
        "sender": "Playground <play@example.com>" if stays_here else settings.DEFAULT_FROM_EMAIL,
        "domain": DOMAIN,
        "cursor": last_event_id(),
    }
    return render(request, "play.html", context)


def state() -> State:
    """How it stands now."""
    try:
        if figures.pauses():
            return PAUSED
        oldest = figures.oldest_in_queue()
    except DatabaseError:
        return DOWN
    return BEHIND if oldest is not None and timezone.now() - oldest > LONG else WORKING
