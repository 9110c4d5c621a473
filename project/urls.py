"""Django's addresses: the landing page and the admin. What begins with /api never gets here."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import path
from django.views.generic import TemplateView

admin.site.site_title = admin.site.site_header = "Mailrail"
admin.site.index_title = "Back office"


def favicon(_request: HttpRequest) -> HttpResponse:
    """For pages that name no icon: browsers ask for this one, and a 404 would be in their console."""
    return redirect(static("mailrail/mark.svg"))


urlpatterns = [
    path("", TemplateView.as_view(template_name="landing.html"), name="landing"),
    path("favicon.ico", favicon, name="favicon"),
    path("admin/", admin.site.urls),
]
