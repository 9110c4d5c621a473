"""Reasons of failures: equal for equal causes, different for different causes."""

import pytest

from project.emails.failure_reason import MAX_REASON_LENGTH, failure_reason

GMAIL = "550-5.1.1 No such account. See https://support.google.com/mail/?p=NoSuchUser "


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("550 5.1.1 <ada@example.com>: No such user", "550 5.1.1 …: No such user"),
        ('550 5.1.1 Mailbox "ada@example.com" unavailable', '550 5.1.1 Mailbox "…" unavailable'),
        ("452 4.2.2 Queue 4D2C11AB9 full", "452 4.2.2 Queue … full"),
        ("550 1rABcD-0004xY-2b rejected", "550 … rejected"),
        ("554 Message <20261128.42@host> rejected", "554 Message … rejected"),
        ("SMTPRecipientsRefused: {'ada@example.com': (550, b'5.1.1 No such mailbox')}", "550 5.1.1 No such mailbox"),
        ("554 5.7.1 Host [192.0.2.7] blocked using zen.spamhaus.org", "554 5.7.1 Host … blocked using …"),
        ("550 5.7.1 Messages from 2001:db8::1 refused", "550 5.7.1 Messages from … refused"),
        ("421 4.7.0 mx12.example.com busy at 12:30:05", "421 4.7.0 … busy at …"),
        (
            "550 5.4.1 Access denied. [AM7EUR03FT011.eop-EUR03.prod.outlook.com 2026-11-28T10:00:00.123Z 08DE1A2B3C4D5E6F]",
            "550 5.4.1 Access denied. […]",
        ),
        ("451 Deferred since Sat, 28 Nov 2026 13:18:16 +0000, try later", "451 Deferred since …, try later"),
        ("450 Queued at Nov  3 13:18:16 2026", "450 Queued at …"),
        ("450 Next try 2026-11-28 13:18 UTC", "450 Next try …"),
        ("451 4.7.1 Greylisted, try again in 287 seconds", "451 4.7.1 Greylisted, try again in … seconds"),
        ("host mx.a.example[192.0.2.1] said: 550 5.1.1 <x@a.example> unknown", "host … said: 550 5.1.1 … unknown"),
        ("AnymailAPIError: Sending to ada@example.com failed HTTP 401", "AnymailAPIError: Sending to … failed HTTP 401"),
        ("550 SC-001 (BAY004-MC1F12) Rejected", "550 SC-001 (…) Rejected"),
        (GMAIL + "6a1803df08f44-6f8d5b3c2e1si12345678qtb.123 - gsmtp", "550-5.1.1 No such account. See … - gsmtp"),
        (" 550  Two\r\nlines ", "550 Two lines"),
        ("", "No reply"),
    ],
)
def test_replaces_the_parts_that_identify_one_email(error: str, reason: str) -> None:
    assert failure_reason(error) == reason


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("550 5.1.1 No such user", "550 5.1.2 No such user"),
        ("450 No such user", "550 No such user"),
        ("421 [TSS04] Deferred", "421 [TSS09] Deferred"),
        ("APIError: HTTP 401", "APIError: HTTP 429"),
    ],
)
def test_keeps_codes_apart(first: str, second: str) -> None:
    assert failure_reason(first) != failure_reason(second)


@pytest.mark.parametrize(
    "error",
    [
        "550 {}... User unknown",
        "550 5.1.1 User {} unknown",
        "550 Unknown recipient: {}",
        '550 Mailbox "{}" does not exist',
        "550 No such user ({})",
    ],
)
def test_replaces_the_local_part_of_a_recipient(error: str) -> None:
    reasons = {failure_reason(error.format(name), [f"{name}@example.com"]) for name in ("ada", "Grace", "joe.h", "x+1")}

    assert reasons == {error.format("…")}


def test_keeps_a_word_that_is_also_a_local_part() -> None:
    assert failure_reason("452 Mailbox full", ["full@example.com"]) == "452 Mailbox full"
    assert failure_reason("554 Look at the policy", ["policy@example.com"]) == "554 Look at the policy"


def test_the_length_is_limited() -> None:
    assert len(failure_reason("550 " + "word " * 10_000)) <= MAX_REASON_LENGTH
