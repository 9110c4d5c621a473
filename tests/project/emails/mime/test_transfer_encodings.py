"""Quoted-printable and Base64: the same content arrives, in short lines, however long the text is."""

import quopri
import re
from base64 import b64decode

import pytest

from project.emails.mime import transfer_encodings
from project.emails.mime.pieces import PIECE_LENGTH
from project.emails.mime.transfer_encodings import encode_base64, encode_text

TEXTS = [
    "",
    "a\nb\rc\r\nd\r\r\n\n",
    "one long line " * 50,
    " " * 300,
    "a\t" * 150,
    "Grüße aus Wien\n" * 60,
    "ends with a space \n" * 30,
    ".\n" * 100,
    "a=b " * 40,
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("piece", [50, 76, 77, 200, PIECE_LENGTH])
def test_quoted_printable_keeps_the_text(monkeypatch: pytest.MonkeyPatch, text: str, piece: int) -> None:
    monkeypatch.setattr(transfer_encodings, "PIECE_LENGTH", piece)

    encoding, encoded = encode_text(text)

    assert encoding == "quoted-printable"
    assert quopri.decodestring(encoded) == _with_crlf(text)
    assert encoded.count(b"\n") == encoded.count(b"\r\n")
    assert not re.search(rb"[ \t]\r\n|[^\r\n]{78}", encoded)


@pytest.mark.parametrize("text", ["ж\n" * 40, "=" * 500, "日本語"])
@pytest.mark.parametrize("piece", [1, 57, PIECE_LENGTH])
def test_base64_keeps_the_text(monkeypatch: pytest.MonkeyPatch, text: str, piece: int) -> None:
    monkeypatch.setattr(transfer_encodings, "PIECE_LENGTH", piece)

    encoding, encoded = encode_text(text)

    assert encoding == "base64"
    assert b64decode(encoded) == _with_crlf(text)


@pytest.mark.parametrize("length", [0, 1, 56, 57, 58, 114, 200])
def test_lines_of_base64_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    content = bytes(range(200))[:length]
    at_once = encode_base64(content)
    monkeypatch.setattr(transfer_encodings, "_BASE64_PIECE", 57)

    assert encode_base64(content) == at_once
    assert b64decode(at_once) == content
    assert at_once == b"" or at_once.endswith(b"\r\n")


def test_names_the_position_of_an_unpaired_surrogate() -> None:
    with pytest.raises(ValueError, match=rf"position {2 * PIECE_LENGTH} "):
        encode_text("ж" * 2 * PIECE_LENGTH + "\ud800")


def _with_crlf(text: str) -> bytes:
    lines = re.sub("\r\n|\r|\n", "\r\n", text)
    return (lines if lines.endswith("\r\n") else f"{lines}\r\n").encode()
