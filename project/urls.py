"""Django's URLs: the landing page, the playground and the admin. Paths under /api never reach Django: see `project.asgi`."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import path

from project.dashboard.views import probe_relay_view, stats_view
from project.web.views import landing, playground


def favicon(_request: HttpRequest) -> HttpResponse:
    """Redirect to the logo. Browsers request this path for pages without an icon, and would show a 404 in their console."""
    return redirect(static("mailrail/logo.svg"))


urlpatterns = [
    path("", landing, name="landing"),
    path("play", admin.site.admin_view(playground), name="play"),
    path("favicon.ico", favicon, name="favicon"),
    path("admin/dashboard/stats", admin.site.admin_view(stats_view), name="dashboard_stats"),
    path("admin/dashboard/probe-relay", admin.site.admin_view(probe_relay_view), name="probe_relay"),
    path("admin/", admin.site.urls),
]
