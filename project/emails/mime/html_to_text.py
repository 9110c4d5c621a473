"""Plain text of an HTML part, for email clients that show plain text. Pure.

lxml reads the HTML as browsers do; docs/decisions/0027-html-to-text.md compares other libraries.
"""

import re
from html import unescape

from lxml import etree

from project.emails.mime.text_layout import TextLayout

MAX_HTML_LENGTH = 256 * 1024  # characters; converting more would use a core for more than a few tenths of a second
# libxml2 compares an end tag with all open elements, so deep nesting takes quadratic time. Browsers stop at 512 levels.
MAX_DEPTH = 256
_CHUNK_LENGTH = 1024  # characters between two checks of the depth

_SKIPPED = frozenset(["head", "iframe", "noembed", "noframes", "script", "style", "svg", "template", "title"])
_LINES = frozenset(
    [
        "address",
        "article",
        "aside",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "legend",
        "main",
        "menu",
        "nav",
        "ol",
        "option",
        "section",
        "summary",
        "table",
        "tr",
        "ul",
    ]
)
_PARAGRAPHS = frozenset(["blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "p"])
_HIDDEN = re.compile(r"(?:^|;)\s{0,9}display\s{0,9}:\s{0,9}none", re.IGNORECASE)
_ABSOLUTE_URL = re.compile(r"//|(?!javascript:|vbscript:|data:|cid:|about:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HREF = re.compile(r"""\bhref\s{0,9}=\s{0,9}(?:"[^"]*"|'[^']*'|[^\s"'>]+)""", re.IGNORECASE)
_BARE_AMPERSAND = re.compile(r"&(?!#?\w{1,32};)")
_CUT_OFF_TAG = re.compile(r"<[^<>]*\Z")
_BLOCK_TAG = re.compile(r"<(?:br|div|h[1-6]|li|p|table|tr)\b[^<>]*>", re.IGNORECASE)
_NO_TEXT = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|title)\b.*?(?:</\1|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)


def html_to_text(html: str) -> str:
    """Return the visible text of the first `MAX_HTML_LENGTH` characters of the HTML."""
    start = html if len(html) <= MAX_HTML_LENGTH else _CUT_OFF_TAG.sub("", html[:MAX_HTML_LENGTH])
    try:
        return _convert(_HREF.sub(_escape_ampersands, start))
    except _TooDeep:
        return _without_tags(start)


class _TooDeep(Exception):
    """The elements are nested deeper than in any email that a person wrote."""


def _convert(html: str) -> str:
    target = _Target()
    parser = etree.HTMLParser(target=target, encoding="utf-8", huge_tree=True)
    octets = html.encode()
    for start in range(0, len(octets), _CHUNK_LENGTH):
        parser.feed(octets[start : start + _CHUNK_LENGTH])
        if target.depth > MAX_DEPTH:
            raise _TooDeep
    return str(parser.close()) if octets else ""


def _escape_ampersands(href: re.Match[str]) -> str:
    # In a URL, `&not_before=` is a parameter. Browsers would read `&not` as a character, since an underscore follows.
    return _BARE_AMPERSAND.sub("&amp;", href[0])


def _without_tags(html: str) -> str:
    lines = unescape(_NO_TEXT.sub("", _BLOCK_TAG.sub("\n", html))).split("\n")
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))


class _Target:
    """Receives the elements and the text from lxml, and lays out the text."""

    def __init__(self) -> None:
        self.depth = 0
        self._layout = TextLayout()
        self._hidden_since: int | None = None  # the depth of a hidden element
        self._link: tuple[str, int] | None = None  # the URL, and the position of the link's text

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Start an element."""
        self.depth += 1
        if self._hidden_since is not None:
            return
        if tag in _SKIPPED or "hidden" in attributes or _HIDDEN.search(attributes.get("style", "")):
            self._hidden_since = self.depth
        elif tag == "a":
            self._end_link()  # an `<a>` without an end tag ends at the next one
            self._link = _url(attributes.get("href", "")), self._layout.position
        elif tag == "img":
            self._layout.add_word(attributes.get("alt", ""))
        else:
            self._start_block(tag, attributes)

    def _start_block(self, tag: str, attributes: dict[str, str]) -> None:
        layout = self._layout
        if tag == "br":
            layout.add_line_break()
        elif tag in {"td", "th"}:
            layout.add_space()
        elif tag == "li":
            layout.start_item()
        elif tag == "pre":
            layout.start_preformatted()
        else:
            self._break_lines(tag)
        if tag in {"ul", "ol"}:
            layout.start_list(attributes.get("start", "1") if tag == "ol" else None)

    def end(self, tag: str) -> None:
        """End an element."""
        self.depth -= 1
        if self._hidden_since is not None:
            self._hidden_since = None if self.depth < self._hidden_since else self._hidden_since
        elif tag == "a":
            self._end_link()
        elif tag == "pre":
            self._layout.end_preformatted()
        else:
            if tag in {"ul", "ol"}:
                self._layout.end_list()
            self._break_lines(tag)

    def data(self, text: str) -> None:
        """Add text."""
        if self._hidden_since is None:
            self._layout.add_text(text)

    def close(self) -> str:
        """Return the text."""
        self._end_link()
        return self._layout.text()

    def _break_lines(self, tag: str) -> None:
        if tag in _LINES or tag in _PARAGRAPHS:
            self._layout.break_lines(2 if tag in _PARAGRAPHS else 1)

    def _end_link(self) -> None:
        if self._link is None:
            return
        (url, position), self._link = self._link, None
        text = self._layout.text_since(position)
        if url and text not in {url, url.partition(":")[2].partition("?")[0]}:
            self._layout.add_link(url, has_text=bool(text))


def _url(href: str) -> str:
    """Return the URL without spaces, or an empty string if a reader of plain text could not use it."""
    url = re.sub("[\t\r\n]", "", href).strip().replace(" ", "%20")
    if not _ABSOLUTE_URL.match(url):
        return ""
    return f"https:{url}" if url.startswith("//") else url  # an email has no address of its own to take the scheme from
