"""`python manage.py prepare`: does everything that a new installation needs before its first start. Idempotent."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from project.accounts.first_admin import create_first_admin
from project.config.database_schema import refuse_incompatible_database, startup_connection
from project.transports.factory import delivers_only_locally


class Command(BaseCommand):
    """Prepares the database, the first administrator and the static files."""

    help = "Migrate the database, create the first administrator and collect the static files. Safe to run again."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the steps in order. Prints the administrator's password if it was generated."""
        with startup_connection(self.stderr.write, must_connect=True):
            refuse_incompatible_database()
        call_command("migrate", interactive=False, verbosity=0)
        env = settings.ENV
        password = env.admin_password.get_secret_value() if env.admin_password else None
        is_trial = delivers_only_locally() and env.public_url is None
        try:
            generated = create_first_admin(username=env.admin_username, password=password, validate=not is_trial)
        except ValidationError as error:
            message = " ".join(error.messages)
            raise CommandError(f"ADMIN_PASSWORD: {message} Leave it unset to have a password generated.") from None
        if generated:
            self.stdout.write(f"Created administrator {env.admin_username}. Password (shown only once): {generated}")
        call_command("collectstatic", interactive=False, verbosity=0)
