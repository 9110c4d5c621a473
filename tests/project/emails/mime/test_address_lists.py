"""Address lists: each address that a reader sees gets the email, and no other address does."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project.emails.mime.address_lists import split_mailboxes
from project.emails.mime.builder import Draft, envelope_recipients
from project.emails.mime.email_addresses import normalize_mailbox, parse_mailboxes

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.mark.parametrize(
    ("text", "mailboxes"),
    [
        (f"Ada <{ADA}>, Bob <{BOB}>", [f"Ada <{ADA}>", f"Bob <{BOB}>"]),
        (f"Ada <{ADA}>; Bob <{BOB}>;", [f"Ada <{ADA}>", f"Bob <{BOB}>"]),
        (f"{ADA},{BOB}", [ADA, BOB]),
        (f"{ADA}, Bob <{BOB}>", [ADA, f"Bob <{BOB}>"]),
        (f"<{ADA}>,<{BOB}>", [ADA, BOB]),
        (f" , {ADA} ,, ; {BOB} , ", [ADA, BOB]),
        (f"Lovelace, Ada <{ADA}>", [f'"Lovelace, Ada" <{ADA}>']),
        (f"Lovelace; Ada <{ADA}>", [f'"Lovelace; Ada" <{ADA}>']),
        (f"Lovelace, Ada, Dr. <{ADA}>, Bob <{BOB}>", [f'"Lovelace, Ada, Dr." <{ADA}>', f"Bob <{BOB}>"]),
        (f'"Lovelace, Ada" <{ADA}>, "Bob; B." <{BOB}>', [f'"Lovelace, Ada" <{ADA}>', f'"Bob; B." <{BOB}>']),
        (f'"The \\"first\\", Ada" <{ADA}>, {BOB}', [f'"The \\"first\\", Ada" <{ADA}>', BOB]),
        (f'12" pizza, large <{ADA}>, {BOB}', [f'"12\\" pizza, large" <{ADA}>', BOB]),
        (f"O'Neil, Ada <{ADA}>, {BOB}", [f'"O\'Neil, Ada" <{ADA}>', BOB]),
        (f'"{ADA}" <{ADA}>, {BOB} <{BOB}>', [f'"{ADA}" <{ADA}>', f'"{BOB}" <{BOB}>']),
        (f'"{ADA} via Shop" <{BOB}>', [f'"{ADA} via Shop" <{BOB}>']),
        (f"Support: Ada <{ADA}>", [f'"Support: Ada" <{ADA}>']),
    ],
)
def test_splits_at_the_separators_between_addresses_only(text: str, mailboxes: list[str]) -> None:
    assert parse_mailboxes(text, limit=50) == mailboxes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"Ada <{ADA}> Bob <{BOB}>", "contains an address"),
        (f"Ada <{ADA}>\u060c Bob <{BOB}>", "contains an address"),
        (f"{ADA} <{BOB}>", "contains an address"),
        (f"{ADA} Bob <{BOB}>", "contains an address"),
        (f"Bob, {ADA} <{BOB}>", "contains an address"),
        (f'"{ADA}, Bob" <{BOB}>', "contains an address"),
        (f'"<{ADA}>; Bob" <{BOB}>', "contains an address"),
        (f'"{ADA}", Bob <{BOB}>', "must have"),
        (f"{ADA}, Bob", "must have"),
        (f"Ada <ada>, Bob <{BOB}>", "must have"),
        (f"{ADA} {BOB}", r"."),
        (f"Ada ({ADA}, home) <{BOB}>", r"."),
        (f'"Ada, Bob <{BOB}>', "not closed"),
        (f"Team: {ADA}, {BOB};", "Groups"),
        (f"Team: Ada <{ADA}>;", "Groups"),
        ("undisclosed-recipients:;", "Groups"),
    ],
)
def test_rejects_text_that_a_reader_could_understand_in_another_way(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_mailboxes(text, limit=50)


@pytest.mark.parametrize("text", [f"{ADA}, {BOB}", f"Ada <{ADA}>; Bob <{BOB}>", ",", ""])
def test_a_single_mailbox_is_exactly_one_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalize_mailbox(text)


def test_stops_after_one_mailbox_more_than_the_limit() -> None:
    assert len(parse_mailboxes(f"{ADA}," * 1000, limit=50)) == 51


@pytest.mark.parametrize("text", ["a," * 50_000, 'x",' * 50_000, '"a" ' * 50_000 + ",", "<" * 50_000 + ","])
@pytest.mark.timeout(10)
def test_long_text_takes_linear_time(text: str) -> None:
    assert len("".join(split_mailboxes(text))) >= 50_000


@pytest.mark.parametrize("text", [',"' * 50_001, '"\\' * 50_000 + ",", ":" * 50_000 + ";"])
@pytest.mark.timeout(10)
def test_long_broken_text_is_rejected_in_linear_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"Groups|not closed"):
        split_mailboxes(text)


pieces = st.sampled_from(
    [
        ADA,
        BOB,
        f"<{ADA}>",
        f"<{BOB}>",
        "Ada",
        "Lovelace",
        '"',
        '"Lovelace, Ada"',
        f'"{ADA}"',
        ",",
        ";",
        " ",
        ":",
        "\\",
        "(",
        ")",
        "@",
        "<",
        ">",
    ]
)


@settings(max_examples=1500, derandomize=True, database=None, deadline=None)
@given(st.lists(pieces, max_size=9).map("".join))
def test_the_envelope_has_exactly_the_addresses_that_a_reader_sees(text: str) -> None:
    try:
        mailboxes = parse_mailboxes(text, limit=50)
    except ValueError:
        return

    unquoted = re.sub(r'"[^",;]*" *(?=<)', "", text)  # a quoted name may contain an address, if no separator follows it
    seen = {address.lower() for address in re.findall(r"[\w.]+@[\w.]+", unquoted)}
    assert {each.lower() for each in envelope_recipients(Draft("shop@example.com", to=tuple(mailboxes)))} == seen


names = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"\\@<>'), min_size=1, max_size=12)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(names, st.sampled_from([ADA, BOB])), min_size=1, max_size=5), st.sampled_from([",", ", ", ";", "; "]))
def test_quoted_names_stay_with_their_addresses(entries: list[tuple[str, str]], separator: str) -> None:
    text = separator.join(f'"{name}" <{address}>' for name, address in entries)

    mailboxes = parse_mailboxes(text, limit=50)

    assert [mailbox.partition(" <")[0].strip('"') for mailbox in mailboxes] == [name for name, _ in entries]
    assert [mailbox.rpartition("<")[2] for mailbox in mailboxes] == [f"{address}>" for _, address in entries]
