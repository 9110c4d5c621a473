"""`python manage.py prepare`: all that must have been done before the first start, in one process. Running it again does
no harm.
"""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from project.accounts.first_admin import create_first_admin


class Command(BaseCommand):
    """Tables, the first administrator, static files."""

    help = "Migrate the database, create the first administrator and collect the static files."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do each; say the administrator's password if it had to be made up."""
        call_command("migrate", interactive=False, verbosity=0)
        env = settings.ENV
        password = env.admin_password.get_secret_value() if env.admin_password else None
        if made_up := create_first_admin(username=env.admin_username, password=password):
            self.stdout.write(f"First administrator: {env.admin_username}, password {made_up} (shown only now)")
        call_command("collectstatic", interactive=False, verbosity=0)
