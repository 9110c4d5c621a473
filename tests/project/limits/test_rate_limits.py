"""Rate limits, client networks and daily quotas."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from pytest_django import Settings

from project.api_keys.forms import ApiKeyForm
from project.api_keys.keys import create_key
from project.api_keys.models import ApiKey
from project.api_keys.quota import QuotaExceeded, consume_quota, emails_counted_today
from project.config.rates import parse_rate
from project.limits import rate_limits
from project.limits.client_network import rate_limit_network
from project.limits.rate_limits import RETRY_INTERVAL_SECONDS, RateLimited, SharedCountersBreaker, hit
from tests.processes import free_port

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def key(db: None) -> ApiKey:
    """Create a key with a quota of five emails per day, and return the key."""
    create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(daily_quota=5)
    return ApiKey.objects.get()


# Rates


def test_parses_a_rate() -> None:
    rate = parse_rate("600/minute")

    assert rate is not None
    assert (rate.amount, rate.get_expiry()) == (600, 60)


def test_off_means_no_limit() -> None:
    assert parse_rate("off") is None


@pytest.mark.parametrize("text", ["", "often", "10", "10/fortnight", "0/minute", "-1/minute", "on"])
def test_rejects_an_invalid_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)


# Client networks


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", None),
        ("", None),
        (None, None),
    ],
)
def test_returns_the_network_of_an_address(address: str | None, network: str | None) -> None:
    assert rate_limit_network(address) == network


# Requests


@pytest.mark.anyio
async def test_rejects_requests_beyond_the_limit(settings: Settings) -> None:
    settings.RATE_LIMITS = {"key": parse_rate("2/minute")}

    statuses = [await hit("key", "key:1") for _ in range(2)]

    assert [status and status.remaining for status in statuses] == [1, 0]
    with pytest.raises(RateLimited) as error:
        await hit("key", "key:1")
    assert 0 < error.value.retry_after_seconds <= 60
    assert error.value.headers["RateLimit-Remaining"] == "0"


@pytest.mark.anyio
async def test_counts_each_caller_separately(settings: Settings) -> None:
    settings.RATE_LIMITS = {"key": parse_rate("1/minute"), "user": parse_rate("1/minute")}
    await hit("key", "1")

    assert await hit("key", "2")
    assert await hit("user", "1")


@pytest.mark.anyio
async def test_returns_none_without_a_limit(settings: Settings) -> None:
    settings.RATE_LIMITS = {"key": None}

    assert await hit("key", "key:1") is None


@pytest.mark.anyio
async def test_counts_in_memory_while_redis_is_unavailable(settings: Settings) -> None:
    settings.RATE_LIMITS = {"key": parse_rate("1/minute")}
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}"
    await hit("key", "key:1")

    with pytest.raises(RateLimited):
        await hit("key", "key:1")


@pytest.mark.anyio
async def test_waits_only_once_for_a_redis_that_does_not_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rate_limits, "REDIS_TIMEOUT_SECONDS", 0.05)
    connections = 0

    def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        open_connections.append(writer)

    open_connections: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    settings.RATE_LIMITS = {"key": parse_rate("100/minute")}
    settings.REDIS_URL = f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}"

    statuses = [await hit("key", "key:1") for _ in range(20)]

    for writer in open_connections:
        writer.close()
    silent.close()
    assert [status and status.remaining for status in statuses] == list(range(99, 79, -1))
    assert connections == 1
    assert caplog.text.count("Redis is unavailable") == 1


def test_one_request_per_interval_tries_redis_during_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    breaker = SharedCountersBreaker("Redis")
    before = breaker.may_try(0)
    breaker.record_failure(ConnectionError("no route"))
    later = monotonic() + RETRY_INTERVAL_SECONDS

    during = [breaker.may_try(now) for now in (monotonic(), later, later + 1, later + RETRY_INTERVAL_SECONDS)]
    breaker.record_failure(ConnectionError("no route"))
    breaker.record_success()

    assert (before, during, breaker.may_try(0)) == (True, [False, True, False, True], True)
    assert [caplog.text.count(text) for text in ("no route", "available again")] == [1, 1]


# Quotas


def test_counts_emails_against_the_quota(key: ApiKey) -> None:
    consume_quota(key.pk, 2, now=NOON)
    consume_quota(key.pk, 3, now=NOON)

    key.refresh_from_db()
    assert (key.quota_used, key.quota_day) == (5, NOON.date())


def test_rejects_emails_beyond_the_quota_without_counting_them(key: ApiKey) -> None:
    consume_quota(key.pk, 4, now=NOON)

    with pytest.raises(QuotaExceeded) as error:
        consume_quota(key.pk, 2, now=NOON)

    assert error.value.headers == {"Retry-After": str(12 * 60 * 60)}
    consume_quota(key.pk, 1, now=NOON)


def test_resets_the_quota_every_day(key: ApiKey) -> None:
    consume_quota(key.pk, 5, now=NOON)

    consume_quota(key.pk, 1, now=NOON + timedelta(days=1))

    key.refresh_from_db()
    assert key.quota_used == 1


def test_the_quota_is_not_reset_by_a_clock_that_still_shows_the_day_before(key: ApiKey) -> None:
    midnight = NOON + timedelta(hours=12)
    counted = 0
    for number in range(20):
        with suppress(QuotaExceeded):
            consume_quota(key.pk, 1, now=midnight + timedelta(seconds=1 if number % 2 else -1))
            counted += 1

    key.refresh_from_db()
    assert (counted, key.quota_used, key.quota_day) == (1 + 5, 5, midnight.date())


def test_a_clock_that_was_days_ahead_does_not_use_up_the_quota_until_that_day(key: ApiKey) -> None:
    consume_quota(key.pk, 5, now=NOON + timedelta(days=400))

    counted = emails_counted_today(key_again(key), now=NOON)
    consume_quota(key.pk, 2, now=NOON)

    key.refresh_from_db()
    assert (counted, key.quota_used, key.quota_day) == (0, 2, NOON.date())


def test_says_when_the_later_day_ends_if_another_clock_is_ahead(key: ApiKey) -> None:
    midnight = NOON + timedelta(hours=12)
    consume_quota(key.pk, 5, now=midnight)

    with pytest.raises(QuotaExceeded) as error:
        consume_quota(key.pk, 1, now=midnight - timedelta(seconds=1))

    assert error.value.headers == {"Retry-After": str(24 * 60 * 60 + 1)}
    assert emails_counted_today(key_again(key), now=midnight - timedelta(seconds=1)) == 5


@pytest.mark.parametrize("back", [timedelta(seconds=1), timedelta(days=3)])
def test_the_quota_is_not_reset_by_a_clock_that_is_set_back_and_forward(key: ApiKey, back: timedelta) -> None:
    consume_quota(key.pk, 5, now=NOON)

    for now in (NOON - back, NOON, NOON - back):
        with pytest.raises(QuotaExceeded):
            consume_quota(key.pk, 1, now=now)


def key_again(key: ApiKey) -> ApiKey:
    """Return the key's current row."""
    return ApiKey.objects.get(pk=key.pk)


def test_a_key_without_a_quota_has_no_limit(key: ApiKey) -> None:
    ApiKey.objects.update(daily_quota=None)

    consume_quota(key.pk, 1_000_000, now=NOON)

    key.refresh_from_db()
    assert key.quota_used == 0


@pytest.mark.parametrize(("text", "quota"), [("", None), ("1000", 1000)])
def test_the_form_accepts_a_quota(text: str, quota: int | None, db: None) -> None:
    form = ApiKeyForm({"name": "shop", "scopes": "[]", "daily_quota": text})

    assert "daily_quota" not in form.errors
    assert form.cleaned_data["daily_quota"] == quota


@pytest.mark.parametrize("text", ["0", "-1", "many", "3000000000"])
def test_the_form_rejects_an_invalid_quota(text: str, db: None) -> None:
    form = ApiKeyForm({"name": "shop", "scopes": "[]", "daily_quota": text})

    assert "daily_quota" in form.errors
