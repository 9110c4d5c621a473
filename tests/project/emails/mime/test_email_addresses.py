"""Email addresses with display names, and the envelope recipients that are made from them."""

import email
import email.policy
from datetime import UTC, datetime

import pytest
from pytest_django import Settings

from project.emails.mime.builder import Draft, build_message, envelope_recipients
from project.emails.mime.email_addresses import normalize_address, normalize_mailbox, parse_mailboxes
from project.emails.mime.headers import addr_spec

AT = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
NAMES = [
    "می\u200cخواهم",
    "क्\u200dष",
    "👩\u200d👩\u200d👧 Family",
    "Jean\u00a0Dupont",
    "שלום\u200f, Ada",
    "Zoë",
    "O'Neil",
]
BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        (" ada@example.com ", "ada@example.com"),
        ("<ada@example.com>", "ada@example.com"),
        ("  Ada  Lovelace  < ada@EXAMPLE.com > ", "Ada  Lovelace <ada@example.com>"),
        ("Ada<ada@example.com>", "Ada <ada@example.com>"),
        ('"Ada" <ada@example.com>', "Ada <ada@example.com>"),
        ('" " <ada@example.com>', "ada@example.com"),
        ("Lovelace, Ada <ada@example.com>", '"Lovelace, Ada" <ada@example.com>'),
        ("<Ada> <ada@example.com>", '"<Ada>" <ada@example.com>'),
    ],
)
def test_normalizes_a_mailbox(text: str, mailbox: str) -> None:
    assert normalize_mailbox(text) == mailbox


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_survives_the_round_trip(name: str) -> None:
    mailbox = normalize_mailbox(f"{name} <ada@example.com>")

    raw = build_message(Draft(mailbox, to=(mailbox, mailbox), text="Hi"), message_id="<x@example.com>", date=AT)

    message = email.message_from_bytes(raw, policy=email.policy.default)
    addresses = [*message["From"].addresses, *message["To"].addresses]
    assert [(each.display_name, each.addr_spec) for each in addresses] == [(name, "ada@example.com")] * 3


@pytest.mark.parametrize("character", [*"\r\n\0\t\x1b\x7f\x85\u2028\u2029\ud83d", *BIDI_CONTROLS], ids=ascii)
@pytest.mark.parametrize("text", ["A{}da <ada@example.com>", "ada@example.com{}", "{}<ada@example.com>"])
def test_rejects_control_characters_and_bidi_controls(text: str, character: str) -> None:
    with pytest.raises(ValueError, match="a line break, a control character"):
        normalize_mailbox(text.format(character))


@pytest.mark.parametrize(
    "text", [" " * 50_000 + "x", "x" + " " * 50_000 + "x", " <" * 25_000], ids=["before", "between", "brackets"]
)
@pytest.mark.timeout(10)
def test_long_input_takes_linear_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalize_mailbox(text)


# The envelope


def test_the_envelope_ignores_case_and_keeps_the_first_spelling() -> None:
    to, cc, bcc = ("Ada <ADA@example.com>", "bob@example.com"), ("ada@example.com", "Bob@Example.com"), ("Ada@EXAMPLE.com",)

    assert envelope_recipients(Draft("shop@example.com", to=to, cc=cc, bcc=bcc)) == ["ADA@example.com", "bob@example.com"]


def test_the_envelope_has_each_recipient_once() -> None:
    to, cc, bcc = ("A <a@x.example>", "b@x.example"), ("a@x.example",), ("C <c@x.example>", "b@x.example")

    assert envelope_recipients(Draft("shop@example.com", to=to, cc=cc, bcc=bcc)) == ["a@x.example", "b@x.example", "c@x.example"]


@pytest.mark.parametrize("address", ["a@b.example", "A <a@b.example>", '"<x@y>" <a@b.example>', " <a@b.example> "])
def test_extracts_the_bare_address(address: str) -> None:
    assert addr_spec(address) == "a@b.example"


# Internal domains and unusual local parts

INTERNAL = ["ada@localhost", "ada@mailhost", "ada@printer.local", "ada@b\u00fccher.local"]
UNUSUAL = [
    ("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp'),
    ("a.@ezweb.ne.jp", '"a."@ezweb.ne.jp'),
    (".a@ezweb.ne.jp", '".a"@ezweb.ne.jp'),
    ('"a..b"@docomo.ne.jp', '"a..b"@docomo.ne.jp'),
    ('"a b,c"@x.example', '"a b,c"@x.example'),
    ('"a@b"@x.example', '"a@b"@x.example'),
    ('"ada"@x.example', "ada@x.example"),
]


@pytest.mark.parametrize("address", [*INTERNAL, *(address for address, _ in UNUSUAL[:-1])])
def test_refuses_internal_and_unusual_addresses_by_default(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalize_address(address)


@pytest.mark.parametrize("address", INTERNAL)
def test_a_setting_allows_internal_domains(settings: Settings, address: str) -> None:
    settings.ALLOW_INTERNAL_DOMAINS = True

    normal = normalize_address(address)

    assert normalize_address(normal) == normal == address.replace("b\u00fccher", "xn--bcher-kva")
    assert envelope_recipients(Draft("a@x.example", to=(normalize_mailbox(f"Ada <{address}>"),))) == [normal]


@pytest.mark.parametrize(("address", "normal"), UNUSUAL)
def test_a_setting_allows_quoted_and_dotted_local_parts(settings: Settings, address: str, normal: str) -> None:
    settings.ALLOW_QUOTED_LOCAL_PARTS = True

    first, second = parse_mailboxes(f"Ada <{address}>, {address}", limit=2)

    assert (first, second) == (f"Ada <{normal}>", normal)
    assert envelope_recipients(Draft("a@x.example", to=(first, second))) == [normal]
    raw = build_message(Draft(second, to=(first,), text="Hi"), message_id="<x@example.com>", date=AT)
    assert raw.startswith(f"From: {normal}\r\nTo: Ada <{normal}>\r\n".encode())


@pytest.mark.parametrize(
    "address",
    [
        "@localhost",
        "ada@",
        "ada@10.0.0.1",
        "a b@localhost",
        "ada@-x.local",
        "ada@x..local",
        '"a<b>"@x.example',
        '"a\\"b"@x.example',
        "a..b@-x",
    ],
)
def test_the_settings_allow_no_invalid_address(settings: Settings, address: str) -> None:
    settings.ALLOW_INTERNAL_DOMAINS = settings.ALLOW_QUOTED_LOCAL_PARTS = True

    with pytest.raises(ValueError, match=r"."):
        normalize_address(address)
