"""Program of a test: fills a database, deletes rows with SQL as an administrator would, and prints what is left as JSON."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import django

django.setup()

from django.contrib.admin.models import CHANGE, LogEntry  # noqa: E402  # the models need the setup
from django.contrib.auth.models import Group  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connection  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken  # noqa: E402
from django_otp.plugins.otp_totp.models import TOTPDevice  # noqa: E402

from project.accounts.models import User  # noqa: E402
from project.api_keys.models import ApiKey  # noqa: E402
from project.bridge.database.transactions import call_in_transaction  # noqa: E402
from project.emails.models import BulkAction, Email, RawMessage, Recipient, SubjectWord, Tag  # noqa: E402
from project.emails.submit import prepare_email, submit_batch  # noqa: E402
from project.events.models import Event  # noqa: E402
from project.mail_templates.models import Template  # noqa: E402
from project.retention.models import PersonErasure  # noqa: E402
from project.suppressions.models import Suppression  # noqa: E402
from project.transports.models import MailboxMessage, MailboxTerm  # noqa: E402
from tests.project.transports.fake_relay import new_email  # noqa: E402

DEPENDENT_MODELS: list[Any] = [
    *(RawMessage, Recipient, Tag, SubjectWord, Event, MailboxTerm),
    *(BulkAction, PersonErasure, TOTPDevice, StaticToken, LogEntry, User.groups.through),
]


def fill() -> None:
    """Create an email, its copy, a message in the mailbox, a template and a user, each with dependent rows."""
    (result,) = submit_batch([prepare_email(new_email("ada@x.example", text="by hand"), now=timezone.now())])
    email = Email.objects.get(pk=result.id)
    Tag.objects.create(key="order", value="1", email=email)
    template = Template.objects.create(slug="welcome", version=1)
    Email.objects.create(recipients=[], subject="copy", resent_from=email, template=template)
    Suppression.objects.create(address="ada@x.example", email=email)
    message = MailboxMessage.objects.create(recipients=[], source=b"")
    MailboxTerm.objects.create(term="hello", message=message)
    user = User.objects.create(username="leaver")
    user.groups.add(Group.objects.create(name="staff"))
    ApiKey.objects.create(name="shop", prefix="by hand", scopes=[], owner=user)
    BulkAction.objects.create(action="retry", user=user, newest=email.pk, matched=0)
    PersonErasure.objects.create(user=user, persons=0, matched=0)
    TOTPDevice.objects.create(user=user)
    StaticToken.objects.create(device=StaticDevice.objects.create(user=user), token="1")
    LogEntry.objects.log_actions(user.pk, Email.objects.filter(pk=email.pk), CHANGE, "")


def execute(statement: str) -> Any:
    """Run a statement in a session of its own, on SQLite with its default: constraints are not enforced. Return the rows."""
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(connection.settings_dict["NAME"])) as session, session:
            return session.execute(statement).fetchall()
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


def lose_rules() -> None:
    """Remove the rules of two tables, as a migration that copies them or adds a new foreign key would."""
    if connection.vendor == "sqlite":
        execute("DROP TRIGGER events_event_email_id_on_delete")
        execute("DROP TRIGGER suppressions_suppression_email_id_on_delete")
        return
    for table in ("events_event", "suppressions_suppression"):
        ((name,),) = execute(f"SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = '{table}'::regclass")  # noqa: S608
        execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY (email_id) REFERENCES emails_email"
            " DEFERRABLE INITIALLY DEFERRED NOT VALID"
        )


def rules() -> Any:
    """Return the rules as the database describes them."""
    if connection.vendor == "sqlite":
        return [row[0] for row in execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")]
    return execute(
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid), convalidated FROM pg_constraint WHERE contype = 'f'"
    )


def is_template_protected() -> bool:
    """Return whether a template cannot be deleted that an email uses."""
    try:
        execute("DELETE FROM mail_templates_template WHERE slug = 'welcome'")
    except (DatabaseError, sqlite3.DatabaseError):
        return True
    return False


def main() -> None:
    """Print the rules, and the numbers of rows before and after the deletions."""
    call_command("migrate", verbosity=0)
    lose_rules()
    call_command("migrate", "accounts", "0002", verbosity=0)
    call_command("migrate", verbosity=0)  # on SQLite, this copies the table of users, which triggers name
    LogEntry.objects.all().delete()
    call_in_transaction(fill)
    report: dict[str, Any] = {"rules": rules(), "protected": is_template_protected()}
    report["before"] = {model.__name__: model.objects.count() for model in DEPENDENT_MODELS}
    for deletion in (
        "emails_email WHERE subject = 'by hand'",
        "transports_mailboxmessage",
        "accounts_user WHERE username = 'leaver'",
    ):
        execute(f"DELETE FROM {deletion}")  # noqa: S608
    report["after"] = {model.__name__: model.objects.count() for model in DEPENDENT_MODELS}
    copy, suppression, key = Email.objects.get(), Suppression.objects.get(), ApiKey.objects.get(prefix="by hand")
    report["references"] = [copy.resent_from_id, suppression.email_id, key.owner_id]
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    main()
