"""Notifications between processes and hosts through the database, for installations on PostgreSQL without Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dj_database_url
from django.conf import settings
from django.db import connection

CHANNEL_PREFIX = "mailrail_"
OFF = "off"


@asynccontextmanager
async def database_notifications(*topics: str) -> AsyncIterator[None]:
    """Send this process's notifications through PostgreSQL, and listen for `topics`, while this context is open.

    Does nothing on SQLite, with `REDIS_URL`, and with `DATABASE_NOTIFY_URL=off`.
    """
    parameters = _connection_parameters()
    if parameters is None:
        yield
        return
    # Late, because psycopg would lengthen the start of every process on SQLite by a twentieth.
    from project.bridge.notifications.postgresql import PostgreSQLNotifications

    async with PostgreSQLNotifications(parameters, topics=topics, prefix=CHANNEL_PREFIX).running():
        yield


def _connection_parameters() -> dict[str, Any] | None:
    url: str | None = settings.DATABASE_NOTIFY_URL
    if connection.vendor != "postgresql" or settings.REDIS_URL is not None or url == OFF:
        return None
    parameters: dict[str, Any] = connection.get_connection_params()
    if url is not None:
        names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "NAME": "dbname"}
        parsed = dj_database_url.parse(url)
        parameters.update({names[key]: value for key, value in parsed.items() if key in names})
        parameters.update(parsed.get("OPTIONS", {}))
    return parameters
