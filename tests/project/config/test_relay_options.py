"""The options of EMAIL_URL about TLS, the login and the EHLO name."""

import pytest

from project.config.email_url import Relay, parse_email_url
from project.config.relay_options import TokenSource

TLS = "smtp+starttls://relay"
LOGIN = "smtps://ada@relay?auth=xoauth2"
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        (f"{TLS}?ca_file=/etc/ca.pem", Relay("relay", 587, starttls=True, ca_file="/etc/ca.pem")),
        (f"{TLS}?ca_file=%2Fetc%2Fmy%20ca.pem&verify=true", Relay("relay", 587, starttls=True, ca_file="/etc/my ca.pem")),
        ("smtps://relay?verify=false", Relay("relay", 465, implicit_tls=True, verify=False)),
        ("smtp://relay?ehlo_name=mail.example.com", Relay("relay", 25, ehlo_name="mail.example.com")),
        ("smtp://relay?ehlo_name=localhost", Relay("relay", 25, ehlo_name="localhost")),
        ("smtp://relay?ehlo_name=[192.0.2.1]", Relay("relay", 25, ehlo_name="[192.0.2.1]")),
        ("smtp://relay?ehlo_name=%5BIPv6:2001:db8::1%5D", Relay("relay", 25, ehlo_name="[IPv6:2001:db8::1]")),
    ],
)
def test_parses_the_options_of_tls_and_ehlo(url: str, relay: Relay) -> None:
    assert parse_email_url(url) == relay


@pytest.mark.parametrize(
    ("option", "source"),
    [
        ("token_file=/run/token", TokenSource(file="/run/token")),
        ("token_command=/bin/token", TokenSource(command=("/bin/token",))),
        ("token_command=/bin/token%20--user%20'a%20b'", TokenSource(command=("/bin/token", "--user", "a b"))),
        ("token_command=/bin/token%20ada%40example.com", TokenSource(command=("/bin/token", "ada@example.com"))),
        ("token_command=/bin/token%20$(id)", TokenSource(command=("/bin/token", "$(id)"))),
    ],
)
def test_parses_the_options_of_xoauth2(option: str, source: TokenSource) -> None:
    assert parse_email_url(f"{LOGIN}&{option}") == Relay("relay", 465, "ada", implicit_tls=True, token_source=source)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("smtp://relay?ca_file=/ca.pem", "ca_file needs smtp+starttls:// or smtps://"),
        (f"{TLS}?ca_file=ca.pem", "ca_file must be an absolute path"),
        (f"{TLS}?ca_file=", "ca_file must be an absolute path"),
        (f"{TLS}?ca_file=/ca%00.pem", "ca_file must be an absolute path"),
        (f"{TLS}?verify=no", "verify must be true or false"),
        (f"{TLS}?verify=", "verify must be true or false"),
        ("smtp://relay?verify=false", "verify needs smtp+starttls:// or smtps://"),
        (f"{TLS}?verify=false&ca_file=/ca.pem", "ca_file has no effect with verify=false"),
        (f"{TLS}?token_file=/token", "token_file needs auth=xoauth2"),
        (f"{TLS}?token_command=/token", "token_command needs auth=xoauth2"),
        (f"{TLS}?auth=plain", "auth must be xoauth2"),
        (f"{TLS}?auth=xoauth2&token_file=/token", "auth=xoauth2 needs a username and no password"),
        ("smtps://ada:pw@relay?auth=xoauth2&token_file=/token", "auth=xoauth2 needs a username and no password"),
        (LOGIN, "auth=xoauth2 needs either token_file or token_command"),
        (f"{LOGIN}&token_file=/a&token_command=/b", "auth=xoauth2 needs either token_file or token_command"),
        (f"{LOGIN}&token_file=token", "token_file must be an absolute path"),
        (f"{LOGIN}&token_command=get-token", "token_command must be an absolute path"),
        (f"{LOGIN}&token_command=", "token_command must be an absolute path"),
        (f"{LOGIN}&token_command=/token%20'a", "token_command has a quotation mark"),
        (f"{LOGIN}&token_command=/token%20%00", "token_command must not contain a NUL character"),
        *(
            (f"smtp://relay?ehlo_name={name}", "ehlo_name must be a host name, or an address")
            for name in (
                "",
                "a%20b",
                "a%0D%0AMAIL",
                "a..b",
                ".a",
                "a.",
                "-a",
                "a-",
                "a_b",
                "m%C3%BCller.de",
                "192.0.2.1",
                "x" * 64,
            )
        ),
        *(
            (f"smtp://relay?ehlo_name={name}", "ehlo_name must be a host name, or an address")
            for name in ("[192.0.2.256]", "[192.0.2.1", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[mail]", ".".join(["x" * 60] * 5))
        ),
    ],
)
def test_rejects_an_invalid_option_with_its_name(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as rejected:
        parse_email_url(url)

    assert str(rejected.value).startswith(reason)


def test_neither_an_error_nor_the_repr_shows_the_arguments_of_the_command() -> None:
    with pytest.raises(ValueError, match=r".") as rejected:
        parse_email_url(f"{LOGIN}&token_command=token%20{SECRET}")

    relay = parse_email_url(f"{LOGIN}&token_command=/token%20{SECRET}")
    assert SECRET not in str(rejected.value) + repr(relay)
