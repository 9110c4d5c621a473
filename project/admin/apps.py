"""Django's admin, with a site of our own."""

from django.contrib.admin.apps import AdminConfig


class MailrailAdminConfig(AdminConfig):
    """In the place of `django.contrib.admin`."""

    default_site = "project.accounts.admin_site.TwoFactorAdminSite"
