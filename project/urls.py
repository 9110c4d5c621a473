"""Django's addresses: the landing page and the admin. What begins with /api never gets here."""

from django.contrib import admin
from django.urls import path
from django.views.generic import TemplateView

admin.site.site_title = admin.site.site_header = "Mailrail"
admin.site.index_title = "Back office"

urlpatterns = [
    path("", TemplateView.as_view(template_name="landing.html"), name="landing"),
    path("admin/", admin.site.urls),
]
