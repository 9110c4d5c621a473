"""Django's admin, with a site of our own."""

from django.contrib.admin.apps import AdminConfig


class BackOfficeConfig(AdminConfig):
    """In the place of `django.contrib.admin`."""

    default_site = "project.admin_site.BackOffice"
