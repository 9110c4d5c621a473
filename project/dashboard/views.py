"""JSON view with the dashboard's numbers."""

from dataclasses import asdict
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.utils import timezone

from project.bridge.database.transactions import call_in_transaction
from project.dashboard.email_counts import RESOLUTIONS, final_rates, read_counts
from project.dashboard.stats import catch_up, latest_events, read_latency, read_queue_depths, relay_outages
from project.delivery.circuit_breaker import is_delivery_paused, request_probe
from project.delivery.models import RelayOutage
from project.emails.top_reasons import top_reasons
from project.events.models import Event
from project.events.selectors import last_event_id
from project.transports.factory import delivers_only_locally, relay_names

VIEW_PERMISSION = "emails.view_email"  # required to see the dashboard
MANAGE_PERMISSION = "emails.change_email"  # required to let paused workers try the relay now


def stats_view(request: HttpRequest) -> JsonResponse:
    """Return counts by minute, hour or day (`?resolution=`), rates, the queue, latency, failures and the latest events.

    The client then opens the WebSocket with the event id `cursor`, to receive all newer events.
    """
    if not request.user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied
    resolution = RESOLUTIONS.get(request.GET.get("resolution", "minute"))
    if resolution is None:
        raise Http404
    now, cursor = timezone.now(), last_event_id()
    uncounted = catch_up(cursor, now=now)
    buckets = read_counts(resolution, now=now)
    stats = {
        "now": now,
        "cursor": cursor,
        "time_span": resolution.time_span,
        "buckets": [{"start": start, **counts} for start, counts in buckets.items()],
        "uncounted_events": uncounted,
        "rates": asdict(final_rates(list(buckets.values()))),
        "queue": asdict(read_queue_depths()),
        "latency": asdict(read_latency(now=now)),
        "failures": [{"reason": each.reason, "emails": each.label} for each in top_reasons()],
        "transport": _transport_json(),
        "events": [_event_json(event) for event in latest_events(up_to=cursor)],
    }
    return JsonResponse(stats, headers={"Cache-Control": "no-store"})


def probe_relay_view(request: HttpRequest) -> HttpResponse:
    """Let all workers that are paused by a relay outage try the relay now. Return their number."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(MANAGE_PERMISSION):
        raise PermissionDenied
    return JsonResponse({"probing": call_in_transaction(request_probe, now=timezone.now())})


def transport_name() -> str:
    """Return "Embedded mailbox", the names of the relays, or the dotted path of another Django email backend."""
    if delivers_only_locally():
        return "Embedded mailbox"
    return ", ".join(relay_names())


def _transport_json() -> dict[str, Any]:
    outages = relay_outages()
    is_paused = bool(outages) and is_delivery_paused(len(relay_names()))
    return {"name": transport_name(), "is_paused": is_paused, "outages": [_outage_json(outage) for outage in outages]}


def _outage_json(outage: RelayOutage) -> dict[str, Any]:
    return {
        "relay": outage.relay,
        "started_at": outage.started_at,
        "next_probe_at": outage.next_probe_at,
        "failures": outage.failures,
        "error": outage.error,
    }


def _event_json(event: Event) -> dict[str, Any]:
    return {"id": event.pk, "type": event.type, "created_at": event.created_at, "data": event.data}
