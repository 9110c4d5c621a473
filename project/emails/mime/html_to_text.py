"""Plain text of an HTML part, for email clients that show plain text. Pure."""

import re
from html.parser import HTMLParser

MAX_HTML_LENGTH = 256 * 1024  # characters; parsing more would hold the GIL for more than a few tenths of a second

_SKIPPED = frozenset(["head", "script", "style", "template", "title"])
_LINES = re.compile("address|article|aside|dd|div|dt|footer|form|header|hr|li|main|nav|ol|section|table|tr|ul")
_PARAGRAPHS = re.compile("blockquote|h[1-6]|p|pre")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_DECLARATION = re.compile(r"<![^>]*(?:>|\Z)")  # such as Outlook's <![if]>, which can make the HTML parser fail
_UNCLOSED = re.compile(r"<(?=[^<>]*(?:<|\Z))")  # the parser takes quadratic time for tags without a closing > (CVE-2025-6069)

_CUT_OFF_TAG = re.compile(r"<[^<>]*\Z")


def html_to_text(html: str) -> str:
    """Return the visible text of the first `MAX_HTML_LENGTH` characters of the HTML."""
    extractor = _TextExtractor()
    start = html if len(html) <= MAX_HTML_LENGTH else _CUT_OFF_TAG.sub("", html[:MAX_HTML_LENGTH])
    extractor.feed(_UNCLOSED.sub("&lt;", _DECLARATION.sub("", _COMMENT.sub("", start))))
    extractor.close()
    lines = (re.sub(r" +", " ", line).strip(" ") for line in "".join(extractor.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


class _TextExtractor(HTMLParser):
    """Collects the visible text in `pieces`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._skipped: str | None = None
        self._link: tuple[str, int] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self._skipped = None  # </head> is optional
        if self._skipped is not None:
            return
        if tag in _SKIPPED:
            self._skipped = tag
        elif tag == "a":
            self._link = (dict(attrs).get("href") or "").strip(), len(self.pieces)
        elif tag == "img":
            self.handle_data(dict(attrs).get("alt") or "")
        self._break_line(tag)
        if tag == "li":
            self.pieces.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if self._skipped is not None:
            self._skipped = None if tag == self._skipped else self._skipped
            return
        if tag == "a" and self._link is not None:
            (href, start), self._link = self._link, None
            text = "".join(self.pieces[start:]).strip()
            if href.startswith(("http:", "https:", "mailto:")) and text not in {href, href.removeprefix("mailto:")}:
                self.pieces.append(f" ({href})" if text else href)
        if tag not in {"br", "li", "tr"}:
            self._break_line(tag)

    def handle_data(self, data: str) -> None:
        if self._skipped is None:
            self.pieces.append(re.sub(r"[ \t\r\n\f]+", " ", data))

    def _break_line(self, tag: str) -> None:
        line_has_text = "".join(self.pieces[-2:]).rstrip(" ")[-1:] not in {"", "\n"}
        if _PARAGRAPHS.fullmatch(tag):
            if self.pieces[-1:] == ["- "]:
                return  # <li><p>
            self.pieces.append("\n\n")
        elif tag == "br" or (line_has_text and _LINES.fullmatch(tag)):
            self.pieces.append("\n")
        elif tag in {"td", "th"}:
            self.pieces.append(" ")
