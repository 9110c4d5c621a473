"""Rates and quotas: what a setting says, whom an address stands for, and what is counted."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from project.api_keys.forms import ApiKeyForm
from project.api_keys.keys import create_key
from project.api_keys.models import ApiKey
from project.api_keys.quota import QuotaExceeded, consume_quota
from project.config.rates import parse_rate
from project.limits.client_network import rate_limit_network
from project.limits.rate_limits import RateLimited, hit
from tests.processes import free_port

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def key(db: None) -> ApiKey:
    """One that may send five mails a day."""
    create_key("shop", scopes=["emails:send"])
    ApiKey.objects.update(daily_quota=5)
    return ApiKey.objects.get()


# Rates


def test_a_rate_is_a_number_and_a_time() -> None:
    rate = parse_rate("600/minute")

    assert rate is not None
    assert (rate.amount, rate.get_expiry()) == (600, 60)


def test_off_is_no_rate() -> None:
    assert parse_rate("off") is None


@pytest.mark.parametrize("text", ["", "often", "10", "10/fortnight", "0/minute", "-1/minute", "on"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no rate"):
        parse_rate(text)


# Addresses


@pytest.mark.parametrize(
    ("address", "site"),
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
def test_an_address_is_counted_for_its_site(address: str | None, site: str | None) -> None:
    assert rate_limit_network(address) == site


# Calls


@pytest.mark.anyio
async def test_calls_are_counted_until_there_are_too_many(settings: Settings) -> None:
    settings.RATE_LIMITS = {"key": parse_rate("2/minute")}

    left = [await hit("key", "key:1") for _ in range(2)]

    assert [each and each.remaining for each in left] == [1, 0]
    with pytest.raises(RateLimited) as refused:
        await hit("key", "key:1")
    assert 0 < refused.value.retry_after_seconds <= 60
    assert refused.value.headers["RateLimit-Remaining"] == "0"


@pytest.mark.anyio
async def test_everybody_is_counted_alone(settings: Settings) -> None:
    settings.RATE_LIMITS = {"key": parse_rate("1/minute"), "user": parse_rate("1/minute")}
    await hit("key", "1")

    assert await hit("key", "2")
    assert await hit("user", "1")


@pytest.mark.anyio
async def test_calls_without_a_limit_are_not_counted(settings: Settings) -> None:
    settings.RATE_LIMITS = {"key": None}

    assert await hit("key", "key:1") is None


@pytest.mark.anyio
async def test_a_process_counts_for_itself_while_redis_cannot_be_reached(settings: Settings) -> None:
    settings.RATE_LIMITS = {"key": parse_rate("1/minute")}
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}"
    await hit("key", "key:1")

    with pytest.raises(RateLimited):
        await hit("key", "key:1")


# Quotas


def test_mails_are_counted_against_the_quota(key: ApiKey) -> None:
    consume_quota(key.pk, 2, now=NOON)
    consume_quota(key.pk, 3, now=NOON)

    key.refresh_from_db()
    assert (key.quota_used, key.quota_day) == (5, NOON.date())


def test_mails_beyond_the_quota_are_refused_and_none_is_counted(key: ApiKey) -> None:
    consume_quota(key.pk, 4, now=NOON)

    with pytest.raises(QuotaExceeded) as refused:
        consume_quota(key.pk, 2, now=NOON)

    assert refused.value.headers == {"Retry-After": str(12 * 60 * 60)}
    consume_quota(key.pk, 1, now=NOON)


def test_every_day_the_quota_is_whole_again(key: ApiKey) -> None:
    consume_quota(key.pk, 5, now=NOON)

    consume_quota(key.pk, 1, now=NOON + timedelta(days=1))

    key.refresh_from_db()
    assert key.quota_used == 1


def test_a_key_without_a_quota_has_no_limit(key: ApiKey) -> None:
    ApiKey.objects.update(daily_quota=None)

    consume_quota(key.pk, 1_000_000, now=NOON)

    key.refresh_from_db()
    assert key.quota_used == 0


@pytest.mark.parametrize(("typed", "quota"), [("", None), ("1000", 1000)])
def test_a_key_is_made_with_a_quota(typed: str, quota: int | None, db: None) -> None:
    form = ApiKeyForm({"name": "shop", "scopes": "[]", "daily_quota": typed})

    assert "daily_quota" not in form.errors
    assert form.cleaned_data["daily_quota"] == quota


@pytest.mark.parametrize("typed", ["0", "-1", "many", "3000000000"])
def test_a_quota_that_is_none_is_refused(typed: str, db: None) -> None:
    form = ApiKeyForm({"name": "shop", "scopes": "[]", "daily_quota": typed})

    assert "daily_quota" in form.errors
