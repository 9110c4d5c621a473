"""Django's addresses: the landing page, the playground and the admin. What begins with /api never gets here."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import path

from project.dashboard.views import stats_view
from project.web.views import landing, playground


def favicon(_request: HttpRequest) -> HttpResponse:
    """For pages that name no icon: browsers ask for this one, and a 404 would be in their console."""
    return redirect(static("mailrail/logo.svg"))


urlpatterns = [
    path("", landing, name="landing"),
    path("play", admin.site.admin_view(playground), name="play"),
    path("favicon.ico", favicon, name="favicon"),
    path("admin/dashboard/stats", admin.site.admin_view(stats_view), name="dashboard_stats"),
    path("admin/", admin.site.urls),
]
