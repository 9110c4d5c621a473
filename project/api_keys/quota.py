"""Daily quotas: how many emails an API key may send per UTC day."""

from datetime import datetime, timedelta

from django.db.models import F

from project.api_keys.models import ApiKey
from project.errors import RetryLater


class QuotaExceeded(RetryLater):
    """A key has sent what it may send today."""

    code = "quota_exceeded"


def consume_quota(key_id: int, mails: int, *, now: datetime) -> None:
    """Count mails against the daily quota of a key, in the transaction that stores them; a key without one has no limit.

    Days are those of UTC. Raises `QuotaExceeded`, and then none is counted.
    """
    keys = ApiKey.objects.filter(pk=key_id, daily_quota__isnull=False)
    keys.exclude(quota_day=now.date()).update(quota_day=now.date(), quota_used=0)
    # One statement decides and counts: who comes at the same moment waits for the row, and finds it counted.
    if keys.filter(quota_used__lte=F("daily_quota") - mails).update(quota_used=F("quota_used") + mails):
        return
    key = keys.first()
    if key is None or key.daily_quota is None:
        return
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    raise QuotaExceeded(
        f"This API key may send {key.daily_quota} mails a day, and has sent {key.quota_used} today.",
        retry_after=(tomorrow - now).total_seconds(),
    )
