"""Daily quotas: how many emails an API key may send per UTC day."""

from datetime import UTC, datetime, time, timedelta

from django.db.models import F, Q

from project.api_keys.models import ApiKey
from project.errors import RetryLater

ONE_DAY = timedelta(days=1)
MAX_CLOCK_DIFFERENCE = timedelta(days=7)  # a stored day further ahead was stored by a wrong clock, and must not block the key


class QuotaExceeded(RetryLater):
    """The API key has used up its daily quota."""

    code = "quota_exceeded"


def consume_quota(key_id: int, count: int, *, now: datetime) -> None:
    """Count emails against a key's daily quota, in the transaction that stores the emails. A key without a quota has no limit.

    `now` is a time within the transaction. Raises `QuotaExceeded`; in this case the count does not change.
    """
    keys, today = ApiKey.objects.filter(pk=key_id, daily_quota__isnull=False), now.date()
    # Not reset to the day before: around midnight, the clocks of two processes, or two requests, may have different days.
    is_over = Q(quota_day=None) | Q(quota_day__lt=today) | Q(quota_day__gt=today + MAX_CLOCK_DIFFERENCE)
    keys.filter(is_over).update(quota_day=today, quota_used=0)
    # One statement checks and counts, so that a concurrent request waits for the row lock and sees the new count.
    if keys.filter(quota_used__lte=F("daily_quota") - count).update(quota_used=F("quota_used") + count):
        return
    if (key := keys.first()) is not None:
        raise _quota_exceeded(key, now)


def check_quota(key_id: int, count: int, *, now: datetime) -> None:
    """Raise `QuotaExceeded` if the key may not send as many emails now. Counts nothing: `consume_quota` decides."""
    key = ApiKey.objects.filter(pk=key_id, daily_quota__gte=0).first()
    if key is not None and emails_counted_today(key, now=now) + count > (key.daily_quota or 0):
        raise _quota_exceeded(key, now)


def _quota_exceeded(key: ApiKey, now: datetime) -> QuotaExceeded:
    reset_at = datetime.combine(max(key.quota_day or now.date(), now.date()) + ONE_DAY, time.min, UTC)
    sent = emails_counted_today(key, now=now)
    return QuotaExceeded(
        f"Daily quota exceeded: this API key may send {key.daily_quota} emails per day and has sent {sent} today.",
        retry_after=(reset_at - now).total_seconds(),
    )


def emails_counted_today(key: ApiKey, *, now: datetime) -> int:
    """Return how many emails count against the key's quota at present."""
    today = now.date()
    return key.quota_used if key.quota_day is not None and today <= key.quota_day <= today + MAX_CLOCK_DIFFERENCE else 0
