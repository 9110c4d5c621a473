"""`python manage.py prepare`: all that must have been done before the first start, in one process. Running it again does
no harm.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from project.accounts.first_admin import create_first_admin
from project.transports.factory import is_local_only


class Command(BaseCommand):
    """Tables, the first administrator, static files."""

    help = "Migrate the database, create the first administrator and collect the static files."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do each; say the administrator's password if it had to be made up."""
        call_command("migrate", interactive=False, verbosity=0)
        env = settings.ENV
        password = env.admin_password.get_secret_value() if env.admin_password else None
        is_trial = is_local_only() and env.public_url is None
        try:
            made_up = create_first_admin(username=env.admin_username, password=password, any_password=is_trial)
        except ValidationError as error:
            raise CommandError(f"ADMIN_PASSWORD: {' '.join(error.messages)} Unset it, and one is made up.") from None
        if made_up:
            self.stdout.write(f"First administrator: {env.admin_username}, password {made_up} (shown only now)")
        call_command("collectstatic", interactive=False, verbosity=0)
