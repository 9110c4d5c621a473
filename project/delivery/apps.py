"""Django app of the delivery package."""

from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    """Registers `project.delivery`."""

    name = "project.delivery"
    verbose_name = "Delivery"
    default_auto_field = "django.db.models.BigAutoField"
