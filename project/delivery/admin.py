"""Relay outages in the admin, with the action "Try now"."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from project.admin.read_only import ReadOnlyAdmin
from project.bridge.database.transactions import call_in_transaction
from project.delivery.circuit_breaker import request_probe
from project.delivery.models import RelayOutage


@admin.register(RelayOutage)
class RelayOutageAdmin(ReadOnlyAdmin):
    """Lists the workers that pass over a relay because it is unavailable."""

    list_display = ("relay", "worker", "started_at", "next_probe_at", "failures", "error")
    actions = ("try_now",)

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: a worker deletes its row when the relay is available again."""
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may act on emails."""
        return request.user.has_perm("emails.change_email")

    @admin.action(description="Try now", permissions=["manage"])
    def try_now(self, request: HttpRequest, outages: QuerySet[Any]) -> None:
        """Let all workers try the relays of the selected outages now, because the workers share the relays."""
        relays = sorted(set(outages.values_list("relay", flat=True)))
        call_in_transaction(request_probe, relays, now=timezone.now())
        self.message_user(request, f"Tried again now: {', '.join(relays)}.", messages.SUCCESS)
