"""What the e-mail routes are sent."""

from datetime import UTC, datetime, timedelta

BODY = {"from": "Shop <shop@example.com>", "to": "ada@example.com", "subject": "Your order", "text": "It is on its way."}
BEFORE_ALL = "0001-01-01T00:00:00+14:00"  # in UTC, a year before the first


def soon() -> str:
    """An hour from now."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()
