"""App config of the web pages."""

from django.apps import AppConfig


class PagesAndAssetsConfig(AppConfig):
    """Register `project.web`."""

    name = "project.web"
    verbose_name = "Web pages"
    default_auto_field = "django.db.models.BigAutoField"
