"""App configuration of Django's admin, with our own admin site."""

from django.contrib.admin.apps import AdminConfig


class MailrailAdminConfig(AdminConfig):
    """Replaces `django.contrib.admin` in INSTALLED_APPS."""

    default_site = "project.accounts.admin_site.TwoFactorAdminSite"
