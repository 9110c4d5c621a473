"""Custom headers: what a program reads arrives as it was accepted, and what a person reads is encoded."""

import email
import email.policy
import re
from email.header import decode_header, make_header

import pytest

from project.emails.mime.custom_headers import MAX_HEADER_LENGTH, check_headers, format_header, is_reserved_header

SURROGATE = "\ud83d"
RESERVED = (
    "From Sender To Cc Bcc Reply-To Subject Date Message-ID MIME-Version Content-Type Content-X DKIM-Signature Received "
    "Return-Path ARC-Seal Authentication-Results Resent-To"
)
REFERENCES = " ".join(f"<{number:04}.{'a' * 40}@example.com>" for number in range(40))


def unfolded(name: str, value: str) -> str:
    """Return the value that a parser reads. No line of the written header may be too long."""
    written = format_header(name, value)
    assert max(map(len, f"{name}: {written}".split("\r\n"))) <= 998
    assert written.isascii()
    return re.sub(r"\r\n(?= )", "", written)


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("In-Reply-To", "<abc@x.example> ", "<abc@x.example>"),
        ("In-Reply-To", "\u00a0<abc@x.example>\u2003", "<abc@x.example>"),
        ("References", " <a@x.example>\t<b@x.example>  <c@x.example>", "<a@x.example> <b@x.example> <c@x.example>"),
        ("List-Unsubscribe", "<https://x.example/u>,  <mailto:u@x.example>", "<https://x.example/u>, <mailto:u@x.example>"),
        ("List-Unsubscribe", "<mailto:u@x.example>,\t<https://x.example/u>\t", "<mailto:u@x.example>, <https://x.example/u>"),
        ("List-Unsubscribe-Post", " List-Unsubscribe=One-Click", "List-Unsubscribe=One-Click"),
        ("X-Thing", "  two   spaces\tand a tab ", "two spaces and a tab"),
        ("X-Entity-Ref-ID", "42 ", "42"),
        ("Feedback-ID", " 1:2:3 :shop", "1:2:3 :shop"),
        ("X-Empty", " ", ""),
        ("Supersedes", "<a@x.example>\t<b@x.example> ", "<a@x.example> <b@x.example>"),
        ("Importance", "high\t", "high"),
        ("User-Agent", "Shop/1.0  (Linux)", "Shop/1.0 (Linux)"),
        ("References", REFERENCES, REFERENCES),
    ],
)
def test_ascii_is_trimmed_and_never_encoded(name: str, value: str, written: str) -> None:
    assert unfolded(name, value) == written


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("List-Id", "Über uns <news.example.com>", "Über uns <news.example.com>"),
        ("List-Id", '"Über, uns" <news.example.com>', "Über, uns <news.example.com>"),
        ("List-Id", "Neues <news.bücher.example>", "Neues <news.xn--bcher-kva.example>"),
        ("List-Post", "NO (Ankündigungen)", "NO (Ankündigungen )"),
        ("X-Complaints-To", "Missbrauch für uns <abuse@x.example>", "Missbrauch für uns <abuse@x.example>"),
        ("Disposition-Notification-To", "Zoë <z@x.example>, Ö <o@x.example>", "Zoë <z@x.example>, Ö <o@x.example>"),
        ("X-Note", "Grüße an alle", "Grüße an alle"),
    ],
)
def test_text_is_encoded_and_the_structure_around_it_is_not(name: str, value: str, written: str) -> None:
    raw = unfolded(name, value)

    assert str(make_header(decode_header(raw))).replace("  ", " ") == written
    assert all(f"<{bracketed}>" in raw for bracketed in re.findall("<(.*?)>", written))
    assert re.fullmatch(r"(?:=\?utf-8\?[bq]\?[^? ]+\?=|[^=]|=(?!\?))*", raw)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("<https://x.example/abmelden/ü?an=zoë>", "<https://x.example/abmelden/%C3%BC?an=zo%C3%AB>"),
        ("<https://bücher.example:8443/%C3%BC>", "<https://xn--bcher-kva.example:8443/%C3%BC>"),
        ("<https://bücher.example>", "<https://xn--bcher-kva.example>"),
        ("<mailto:ab@bücher.example?subject=Schluß mit>", "<mailto:ab@xn--bcher-kva.example?subject=Schlu%C3%9F%20mit>"),
        ("<mailto:a@x.example?subject=no more>", "<mailto:a@x.example?subject=no%20more>"),
        ("https://x.example/ü", "https://x.example/%C3%BC"),
        ("<https://x.example/ü>, <mailto:a@x.example>", "<https://x.example/%C3%BC>, <mailto:a@x.example>"),
        ("<https://x.example/?q=a&b={c}|d>", "<https://x.example/?q=a&b={c}|d>"),
    ],
)
@pytest.mark.parametrize("name", ["List-Unsubscribe", "list-help", "List-Archive", "Archived-At"])
def test_a_url_is_percent_encoded(name: str, value: str, written: str) -> None:
    assert unfolded(name, value) == written


@pytest.mark.parametrize(
    ("name", "value", "start"),
    [
        ("X-Priority", "1 (Höchste)", "1 (=?utf-8?"),
        ("Importance", "high (sehr wichtig für uns)", "high (=?utf-8?"),
        ("X-Auto-Response-Suppress", "OOF, AutoReply (für Büro)", "OOF, AutoReply (=?utf-8?"),
        ("Keywords", "orders, Straße", "orders, =?utf-8?"),
        ("X-Mailer", "Shop/1.0 (für Müller)", "Shop/1.0 (=?utf-8?"),
    ],
)
def test_the_words_that_programs_read_stay_ascii(name: str, value: str, start: str) -> None:
    raw = unfolded(name, value)

    assert raw.startswith(start)
    assert str(make_header(decode_header(raw))).replace(" )", ")") == value


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("X-Confirm", "https://x.example/ü?a=1&b=2", "https://x.example/%C3%BC?a=1&b=2"),
        ("X-Unsubscribe-Web", "<https://bücher.example/ü>", "<https://xn--bcher-kva.example/%C3%BC>"),
        ("Link", '<https://x.example/ü>; rel="x"', '<https://x.example/%C3%BC>; rel="x"'),
        ("X-Report-Abuse", "Report at https://x.example/ü  please", "Report at https://x.example/%C3%BC please"),
        ("List-Unsubscribe", "https://x.example/ü, mailto:u@x.example", "https://x.example/%C3%BC, mailto:u@x.example"),
    ],
)
def test_a_url_in_any_header_is_percent_encoded(name: str, value: str, written: str) -> None:
    assert unfolded(name, value) == written


def test_text_that_only_looks_like_a_url_is_encoded() -> None:
    raw = unfolded("X-Note", "siehe https://☃..example/ü")

    assert str(make_header(decode_header(raw))) == "siehe https://☃..example/ü"


@pytest.mark.parametrize(
    "value", ["Grüße 🎉 👩‍👩‍👧", "שלום עולם\u200f مرحبا", "漢" * 1_000, "=?utf-8?q?not_encoded?=", "w" * 998]
)
def test_unstructured_text_survives_the_round_trip(value: str) -> None:
    name = "X-" + "N" * 74

    message = email.message_from_string(f"{name}: {format_header(name, value)}\r\n\r\n", policy=email.policy.default)

    assert message[name] == value


def test_a_long_link_is_not_encoded() -> None:
    link = f"<https://x.example/{'a' * 900}>"

    assert format_header("List-Unsubscribe", link) == format_header("X-Link", link) == link


def test_long_references_are_folded() -> None:
    lines = f"References: {format_header('References', REFERENCES)}".split("\r\n")

    assert (len(REFERENCES) > 2_300, len(lines), max(map(len, lines)) <= 76) == (True, 40, True)


@pytest.mark.parametrize("name", RESERVED.split(" "))
def test_reserves_a_header_in_any_case(name: str) -> None:
    assert all(map(is_reserved_header, (name, name.lower(), name.upper())))


@pytest.mark.parametrize("name", ["X-From", "Tox", "List-Unsubscribe", "In-Reply-To", "Content", "Disposition-Notification-To"])
def test_allows_other_headers(name: str) -> None:
    assert format_header(name, "<a@b.example>") == ("a@b.example" if name.startswith("Disposition") else "<a@b.example>")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        *((name, "v", "1 to 76") for name in ("", "a b", "a:", "ä", "a\n", "N" * 77, "a\x7f")),
        ("bcc", "v", "set by the service"),
        ("X-A", "v" * (MAX_HEADER_LENGTH + 1), "longer than"),
        ("X-A", "a\rb", "carriage return"),
        ("X-A", "a\n b", "line feed"),
        ("X-A", "a\0", "NUL"),
        ("X-A", SURROGATE, "surrogate"),
        *(("X-A", f"a{character}b", r"U\+") for character in "\x07\x1b\x7f\x9b\u202e\u2066"),
        *((name, "<ü@x.example>", "must be ASCII") for name in ("References", "Supersedes", "Original-Message-ID")),
        ("References", f"<{'a' * 990}@x.example>", "too long for a line"),
        ("List-Id", "News <a\u00adü..example>", r"."),
        ("Mail-Followup-To", "Team: a@x.example;", "Groups"),
        ("Mail-Followup-To", "a@x.example," * 51, "up to 50"),
    ],
)
def test_rejects_a_header_with_the_reason(name: str, value: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        format_header(name, value)


def test_rejects_headers_that_are_too_large_together() -> None:
    with pytest.raises(ValueError, match="together"):
        check_headers({"X-A": "漢" * 6_000, "X-B": "漢" * 6_000})
