"""Parsing of EMAIL_URL."""

import pytest

from project.config.email_url import MAX_RELAYS, Relay, parse_email_url, parse_email_urls

SECRET = "hunter2"


def test_the_embedded_mailbox_has_no_relay() -> None:
    assert parse_email_url("mailbox://") is None


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://relay", Relay("relay", 25)),
        ("SMTP://relay", Relay("relay", 25)),
        ("smtp://relay.example.com:2525", Relay("relay.example.com", 2525)),
        ("smtp://relay/", Relay("relay", 25)),
        ("smtp://[::1]:2525", Relay("::1", 2525)),
        ("smtp+starttls://relay", Relay("relay", 587, starttls=True)),
        ("smtp+starttls://relay:25", Relay("relay", 25, starttls=True)),
        ("smtps://relay", Relay("relay", 465, implicit_tls=True)),
        ("smtps://relay:1465", Relay("relay", 1465, implicit_tls=True)),
        ("smtp://ada:pw@relay", Relay("relay", 25, username="ada", password="pw")),
        ("smtp://ada@relay", Relay("relay", 25, username="ada")),
        (
            "smtp://ada%40example.com:p%40ss%3A%2F%3F%23%25@relay",
            Relay("relay", 25, username="ada@example.com", password="p@ss:/?#%"),
        ),
        ("smtp://ada:p@ss@relay", Relay("relay", 25, username="ada", password="p@ss")),
        ("smtp://ada:gr%C3%BC%C3%9Fe@relay", Relay("relay", 25, username="ada", password="grüße")),
        ("smtp://relay?timeout=5", Relay("relay", 25, timeout=5.0)),
        ("smtp://relay?timeout=0.5", Relay("relay", 25, timeout=0.5)),
        ("smtp://relay?timeout=5&timeout=6", Relay("relay", 25, timeout=6.0)),
        ("smtp://relay?data_done_timeout=60", Relay("relay", 25, data_done_timeout=60.0)),
        ("smtp://relay?connections=1", Relay("relay", 25, connections=1)),
        ("smtp://relay?connections=500&timeout=5", Relay("relay", 25, timeout=5.0, connections=500)),
    ],
)
def test_parses_a_url(url: str, relay: Relay) -> None:
    assert parse_email_url(url) == relay


def test_the_default_timeouts_are_half_a_minute_and_ten_minutes() -> None:
    assert parse_email_url("smtp://relay") == Relay("relay", 25, timeout=30.0, data_done_timeout=600.0)


def test_the_default_is_twenty_connections() -> None:
    assert parse_email_url("smtp://relay") == Relay("relay", 25, connections=20)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "no:// is not one of mailbox, smtp, smtp+starttls, smtps"),
        ("relay", "no:// is not one of mailbox, smtp, smtp+starttls, smtps"),
        ("http://relay", "http:// is not one of mailbox, smtp, smtp+starttls, smtps"),
        ("smtp:relay", "the host is missing"),
        ("smtp://", "the host is missing"),
        ("smtp://:25", "the host is missing"),
        ("smtp://ada:pw@", "the host is missing"),
        ("smtp://relay:99999", "port"),
        ("smtp://relay:smtp", "port"),
        ("smtp://relay?tls=1", "unknown option 'tls'"),
        ("smtp://relay?timeout=5&tls=1", "unknown option 'tls'"),
        ("smtp://relay?timeout=0", "timeout must be more than 0 and at most"),
        ("smtp://relay?timeout=601", "timeout must be more than 0 and at most"),
        ("smtp://relay?timeout=nan", "timeout must be more than 0 and at most"),
        ("smtp://relay?timeout=-1", "timeout must be more than 0 and at most"),
        ("smtp://relay?timeout=soon", "timeout must be more than 0 and at most"),
        ("smtp://relay?data_done_timeout=0", "data_done_timeout must be more than 0 and at most"),
        ("smtp://relay?timeout", "timeout must be more than 0 and at most"),
        ("smtp://relay?connections=0", "connections must be a number from 1 to 500"),
        ("smtp://relay?connections=501", "connections must be a number from 1 to 500"),
        ("smtp://relay?connections=-1", "connections must be a number from 1 to 500"),
        ("smtp://relay?connections=1.5", "connections must be a number from 1 to 500"),
        ("smtp://relay?connections=%2B5", "connections must be a number from 1 to 500"),
        ("smtp://relay?connections=٣", "connections must be a number from 1 to 500"),
        ("smtp://relay?connections=many", "connections must be a number from 1 to 500"),
        ("smtp://relay?connections", "connections must be a number from 1 to 500"),
    ],
)
def test_rejects_an_invalid_url_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as rejected:
        parse_email_url(url)

    assert reason in str(rejected.value).lower()


@pytest.mark.parametrize("url", ["smtp://relay/path", "smtp://relay#fragment"])
def test_rejects_a_path_and_a_fragment(url: str) -> None:
    with pytest.raises(ValueError, match="only options may follow the host and port"):
        parse_email_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"smpt://ada:{SECRET}@relay",
        f"smtp://ada:{SECRET}@",
        f"smtp://ada:{SECRET}@relay:99999",
        f"smtp://ada:{SECRET}@relay:port",
        f"smtp://ada:{SECRET}@relay?tls=1",
        f"smtp://ada:{SECRET}@relay?timeout=0",
        f"smtp://ada:{SECRET}@relay?connections=0",
        f"smtp://ada:{SECRET}/@relay",  # the slash should have been percent-encoded
        f"smtp://ada:{SECRET}?@relay",
        f"smtp://ada:{SECRET}#@relay",
        f"smtp://ada:25?{SECRET}=1@relay",
        f"smtp://ada:25?{SECRET}@relay",
        f"smtp://ada:25?timeout={SECRET}@relay",
        f"smtp://ada:25?connections={SECRET}@relay",
        f"smtp://ada:{SECRET}\u2100@relay",  # Unicode normalization turns this character into a/c
        f"smtp://ada:[{SECRET}]@relay",
    ],
)
def test_an_error_message_never_contains_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as rejected:
        parse_email_url(url)

    assert SECRET not in str(rejected.value)


def test_the_repr_of_a_relay_hides_its_password() -> None:
    relay = parse_email_url(f"smtp://ada:{SECRET}@relay")

    assert SECRET not in repr(relay)


FIRST, SECOND = Relay("first", 25), Relay("second", 587, starttls=True)


@pytest.mark.parametrize("separator", [" ", "  ", "\n", "\r\n\t", ", ", ",\n", ","])
def test_parses_several_relays_in_order(separator: str) -> None:
    assert parse_email_urls(f" smtp://first{separator}smtp+starttls://second\n") == (FIRST, SECOND)


@pytest.mark.parametrize(("text", "relays"), [("mailbox://", ()), (" mailbox:// ", ()), ("smtp://first", (FIRST,))])
def test_parses_a_single_url(text: str, relays: tuple[Relay, ...]) -> None:
    assert parse_email_urls(text) == relays


def test_a_comma_in_a_password_does_not_separate() -> None:
    assert parse_email_urls("smtps://ada:a,smtp:b,@first") == (Relay("first", 465, "ada", "a,smtp:b,", implicit_tls=True),)


def test_a_relay_is_called_by_its_name_or_its_host_and_port() -> None:
    relays = parse_email_urls(f"smtps://ada:{SECRET}@first smtp://ada:{SECRET}@first:465?name=backup-1 smtp://[::1]:25")

    assert [relay.name for relay in relays] == ["first:465", "backup-1", "[::1]:25"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smtp://first mailbox://", "URL 2: mailbox:// cannot be combined with other URLs"),
        ("smtp://first http://second", "URL 2: http:// is not one of mailbox, smtp, smtp\\+starttls, smtps"),
        (f"smtp://ada:{SECRET}@first:x smtp://second", "URL 1: the host or port is malformed"),
        ("smtp://first smtp://first", "two relays are called first:25; give each a name with the option name"),
        ("smtp://a?name=x smtp://b?name=x", "two relays are called x"),
        (" ".join(f"smtp://relay{number}" for number in range(MAX_RELAYS + 1)), "there are 11 URLs; at most 10 are allowed"),
        ("smtp://first?name=", "name must have 1 to 63 letters"),
        ("smtp://first?name=a%0Ab", "name must have 1 to 63 letters"),
        (f"smtp://first?name={'a' * 64}", "name must have 1 to 63 letters"),
        ("", "no:// is not one of mailbox"),
    ],
)
def test_refuses_several_urls_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        parse_email_urls(text)

    assert SECRET not in str(raised.value)
