"""The figures of the dashboard, for its script."""

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse
from django.utils import timezone

from project.dashboard.stats import (
    RESOLUTIONS,
    bucket_counts,
    latest_events,
    read_latency,
    read_queue_depths,
    relay_outages,
    top_failures,
)
from project.delivery.models import RelayOutage
from project.events.models import Event

VIEW_PERMISSION = "emails.view_email"  # the permission to see it


def stats_view(request: HttpRequest) -> JsonResponse:
    """How it goes, by the minute, hour or day, and the last events: others follow on the socket, after `cursor`."""
    if not request.user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied
    unit = RESOLUTIONS.get(request.GET.get("unit", "minute"))
    if unit is None:
        raise Http404
    now, events = timezone.now(), latest_events()
    parts = [{"start": start, **count} for start, count in bucket_counts(unit, now=now).items()]
    told = {
        "now": now,
        "cursor": events[0].pk if events else 0,
        "counts": parts,
        "queue": asdict(read_queue_depths()),
        "latency": asdict(read_latency(now=now)),
        "failures": [asdict(failure) for failure in top_failures()],
        "transport": {"name": transport_name(), "pauses": [_pause(pause) for pause in relay_outages()]},
        "events": [_event(event) for event in events],
    }
    return JsonResponse(told, headers={"Cache-Control": "no-store"})


def transport_name() -> str:
    """Where mail goes: to a relay, into the embedded mailbox, or what a Django backend does with it."""
    if settings.EMAIL_BACKEND == settings.MAILBOX_BACKEND:
        return "Embedded mailbox"
    if settings.RELAY is not None:
        return f"{settings.RELAY.host}:{settings.RELAY.port}"
    return str(settings.EMAIL_BACKEND)


def _pause(pause: RelayOutage) -> dict[str, Any]:
    return {"since": pause.started_at, "until": pause.next_probe_at, "failures": pause.failures, "error": pause.error}


def _event(event: Event) -> dict[str, Any]:
    return {"id": event.pk, "type": event.type, "created_at": event.created_at, "data": event.data}
