"""Daily quotas: how many emails an API key may send per UTC day."""

from datetime import datetime, timedelta

from django.db.models import F

from project.api_keys.models import ApiKey
from project.errors import RetryLater


class QuotaExceeded(RetryLater):
    """The API key has used up its daily quota."""

    code = "quota_exceeded"


def consume_quota(key_id: int, count: int, *, now: datetime) -> None:
    """Count emails against a key's daily quota, in the transaction that stores the emails. A key without a quota has no limit.

    Raises `QuotaExceeded`; in this case the count does not change.
    """
    keys = ApiKey.objects.filter(pk=key_id, daily_quota__isnull=False)
    keys.exclude(quota_day=now.date()).update(quota_day=now.date(), quota_used=0)
    # One statement checks and counts, so that a concurrent request waits for the row lock and sees the new count.
    if keys.filter(quota_used__lte=F("daily_quota") - count).update(quota_used=F("quota_used") + count):
        return
    key = keys.first()
    if key is None or key.daily_quota is None:
        return
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    raise QuotaExceeded(
        f"Daily quota exceeded: this API key may send {key.daily_quota} emails per day and has sent {key.quota_used} today.",
        retry_after=(tomorrow - now).total_seconds(),
    )
