"""Django's addresses: the landing page, the playground and the admin. What begins with /api never gets here."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import path

from project.outbox import pages


def favicon(_request: HttpRequest) -> HttpResponse:
    """For pages that name no icon: browsers ask for this one, and a 404 would be in their console."""
    return redirect(static("mailrail/mark.svg"))


urlpatterns = [
    path("", pages.landing, name="landing"),
    path("play", admin.site.admin_view(pages.play), name="play"),
    path("favicon.ico", favicon, name="favicon"),
    path("admin/", admin.site.urls),
]
