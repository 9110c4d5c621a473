"""Django app configuration."""

from django.apps import AppConfig


class EventsConfig(AppConfig):
    """Registers `project.events`."""

    name = "project.events"
    verbose_name = "Events"
    default_auto_field = "django.db.models.BigAutoField"
