"""Django app configuration."""

from django.apps import AppConfig


class MailTemplatesConfig(AppConfig):
    """Registers `project.mail_templates`."""

    name = "project.mail_templates"
    verbose_name = "Templates"
    default_auto_field = "django.db.models.BigAutoField"
