"""Content types of file names, the same on every machine."""

import mimetypes

import pytest

from project.emails.mime.content_types import content_type_of


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("a.pdf", "application/pdf"),
        ("Rechnung März.PDF", "application/pdf"),
        ("logo.png", "image/png"),
        ("photo.JPG", "image/jpeg"),
        ("invite.ics", "text/calendar"),
        ("list.csv", "text/csv"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("backup.tar.gz", "application/gzip"),
        ("C:\\files\\a.webp ", "image/webp"),
        ("subtitles.vtt", "text/vtt"),
        ("Outlook item.msg", "application/vnd.ms-outlook"),
        ("sheet.xlsb", "application/vnd.ms-excel.sheet.binary.macroEnabled.12"),
        ("drawing.odg", "application/vnd.oasis.opendocument.graphics"),
        ("holiday.JFIF", "image/jpeg"),
        ("song.aiff", "audio/aiff"),
        *((name, "application/octet-stream") for name in ("a", "a.", ".pdf", "pdf", "a.pdf.exe", "a.eml", "", "a.unknown")),
    ],
)
def test_the_end_of_the_name_decides(filename: str, content_type: str) -> None:
    assert content_type_of(filename) == content_type


@pytest.mark.parametrize(
    ("filename", "content", "content_type"),
    [
        ("notes.txt", "Grüße".encode(), 'text/plain; charset="utf-8"'),
        ("list.csv", "Müller;1".encode(), 'text/csv; charset="utf-8"'),
        ("notes.txt", b"plain", "text/plain"),
        ("notes.txt", "Grüße".encode("latin-1"), "text/plain"),
        ("a.xml", "<ü/>".encode(), "application/xml"),
        ("a.pdf", "ü".encode(), "application/pdf"),
    ],
)
def test_text_in_utf8_has_a_charset(filename: str, content: bytes, content_type: str) -> None:
    assert content_type_of(filename, content) == content_type


def test_does_not_read_the_tables_of_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", lambda *_: ("text/x-wrong", None))

    assert content_type_of("a.pdf") == "application/pdf"
