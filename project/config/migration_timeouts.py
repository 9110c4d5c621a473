"""Timeouts of migrations: building an index takes longer than a statement of a request may take."""

from typing import Any

from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate

from project.bridge.database.watchdog import STATEMENT_TIMEOUT_SETTING

# The statements of other processes end within their own timeouts, so another program blocks a migration that waits for longer.
LOCK_TIMEOUT_SECONDS = 60
LENGTHEN = f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0"
RESTORE = "RESET lock_timeout; RESET statement_timeout; RESET idle_in_transaction_session_timeout"


def adapt_timeouts_to_migrations(*, sender: Any) -> None:
    """Use longer timeouts from the signal `pre_migrate` until `post_migrate` of an app config, which must have models."""
    pre_migrate.connect(_lengthen_timeouts, sender=sender, dispatch_uid="migration timeouts")
    post_migrate.connect(_restore_timeouts, sender=sender, dispatch_uid="migration timeouts")


def _lengthen_timeouts(*, using: str, **_kwargs: Any) -> None:
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(LENGTHEN)
        _timeouts[using] = connection.settings_dict.get(STATEMENT_TIMEOUT_SETTING, 0)
        connection.settings_dict[STATEMENT_TIMEOUT_SETTING] = 0


def _restore_timeouts(*, using: str, **_kwargs: Any) -> None:
    connection = connections[using]
    if connection.vendor == "postgresql":
        connection.settings_dict[STATEMENT_TIMEOUT_SETTING] = _timeouts.pop(using, 0)
        with connection.cursor() as cursor:
            cursor.execute(RESTORE)


_timeouts: dict[str, float] = {}
