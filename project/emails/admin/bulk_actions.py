"""Pages of bulk actions: confirm an action on all emails that match the list's filters, watch its progress, and stop it."""

from contextlib import suppress
from typing import Any, cast

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone

from project.accounts.models import User
from project.admin.changelist import AFTER_PARAMETER, Count
from project.bridge.database.transactions import call_in_transaction
from project.bridge.notifications.local import LocalSignal
from project.emails.admin.actions import ACTIONS
from project.emails.admin.filters import DayFilter, parse_day_range
from project.emails.models import BulkAction, BulkState, Email

NONE = Count(0)
MAX_COUNTED_EMAILS = 1_000_000  # before a bulk action begins
PAGE_PARAMETERS = (AFTER_PARAMETER, "e", "p", "o", "all")  # parameters of the list that do not filter
bulk_action_started = LocalSignal[[]]()  # wakes the runner of this process


def confirm_or_start(request: HttpRequest, admin: "ModelAdmin[Email]", name: str) -> HttpResponse:
    """Ask for confirmation, with the number of matching emails and the filters. If it was given, start the bulk action."""
    matched: Count = admin.get_changelist_instance(request).criteria.count(MAX_COUNTED_EMAILS)  # type: ignore[attr-defined]
    newest = Email.objects.order_by("-pk").values_list("pk", flat=True).first()
    filters = _filters(request.GET)
    if matched == NONE or request.POST.get("confirmed") != "yes":
        context = {
            "title": f"{ACTIONS[name].label}: all emails that match",
            "action": ACTIONS[name],
            "name": name,
            "matched": matched,
            "matches": matched != NONE,
            "newest": newest,
            "filters": filters.items(),
        }
        return _render(request, admin, "admin/emails/email/confirm_bulk_action.html", context)
    fields = {"action": name, "user": cast("User", request.user), "filters": filters.urlencode(), "newest": newest}
    fields |= {"matched": matched.number, "may_match_more": not matched.is_exact}
    job = call_in_transaction(BulkAction.objects.create, **fields)
    bulk_action_started.send()
    return HttpResponseRedirect(reverse("admin:emails_email_bulk_action", args=[job.pk]))


def bulk_action_view(request: HttpRequest, job_id: int, admin: "ModelAdmin[Email]") -> HttpResponse:
    """Show the progress of a bulk action."""
    job = _get_job(request, job_id, admin)
    context = {
        "title": f"{ACTIONS[job.action].label}: all emails that matched",
        "job": job,
        "progress": progress(job),
        "filters": QueryDict(job.filters).items(),
        "may_stop": job.state == BulkState.RUNNING and request.user.has_perms(ACTIONS[job.action].permissions),
    }
    return _render(request, admin, "admin/emails/email/bulk_action.html", context)


def bulk_status_view(request: HttpRequest, job_id: int, admin: "ModelAdmin[Email]") -> HttpResponse:
    """Return the progress of a bulk action as JSON."""
    return JsonResponse(progress(_get_job(request, job_id, admin)), headers={"Cache-Control": "no-store"})


def stop_bulk_view(request: HttpRequest, job_id: int, admin: "ModelAdmin[Email]") -> HttpResponse:
    """Stop a bulk action. Emails that were changed before stay changed."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    job = _get_job(request, job_id, admin)
    if not request.user.has_perms(ACTIONS[job.action].permissions):
        raise PermissionDenied
    running = BulkAction.objects.filter(pk=job.pk, state=BulkState.RUNNING)
    call_in_transaction(running.update, state=BulkState.STOPPED, finished_at=timezone.now())
    return HttpResponseRedirect(reverse("admin:emails_email_bulk_action", args=[job.pk]))


def progress(job: BulkAction) -> dict[str, Any]:
    """Return the state and the counts of a bulk action, and a summary of them for people."""
    action = ACTIONS[job.action]
    parts = [f"{job.changed:,}: {action.success}"] if job.changed or not job.skipped else []
    parts += [f"{number:,}: {reason}" for reason, number in sorted(job.skipped.items())]
    end = {BulkState.STOPPED: " Stopped.", BulkState.FAILED: f" Ended early: {job.error}"}.get(BulkState(job.state), "")
    # Emails may start or cease to match while the action runs, so the number at the start is only a forecast.
    total = job.processed if job.state == BulkState.FINISHED else max(job.matched, job.processed)
    of_total = "" if job.may_match_more and job.state != BulkState.FINISHED else f" of {total:,}"
    return {
        "state": job.state,
        "matched": total,
        "processed": job.processed,
        "changed": job.changed,
        "skipped": job.skipped,
        "summary": f"{job.processed:,}{of_total} done. {' '.join(parts)}{end}",
    }


def _get_job(request: HttpRequest, job_id: int, admin: "ModelAdmin[Email]") -> BulkAction:
    if not admin.has_view_permission(request):
        raise PermissionDenied
    return get_object_or_404(BulkAction, pk=job_id)


def _filters(query: QueryDict) -> QueryDict:
    """Return the filters of a list's query string, with a named range of days replaced by its days."""
    filters = query.copy()
    for name in PAGE_PARAMETERS:
        filters.pop(name, None)
    with suppress(ValueError):  # the list shows no emails for an invalid day
        if day := filters.get(DayFilter.parameter_name):
            first, last = parse_day_range(day, today=timezone.localdate())
            filters[DayFilter.parameter_name] = f"{first}..{last}"
    return filters


def _render(request: HttpRequest, admin: "ModelAdmin[Email]", template: str, context: dict[str, Any]) -> HttpResponse:
    base = {**admin.admin_site.each_context(request), "opts": admin.opts, "media": admin.media}
    return render(request, template, base | context)
