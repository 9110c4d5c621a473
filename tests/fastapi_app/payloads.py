"""Request bodies for the email routes."""

from datetime import UTC, datetime, timedelta

BODY = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Your order", "text": "It is on its way."}
BEFORE_YEAR_1 = "0001-01-01T00:00:00+14:00"  # converted to UTC, this time is too early for Python's datetime


def soon() -> str:
    """Return the time one hour from now, in ISO 8601 format."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()
