"""Plain text of an HTML part, for email clients that show plain text. Pure.

lxml reads the HTML as browsers do; docs/decisions/0027-html-to-text.md compares other libraries.
"""

import re
from html import unescape
from urllib.parse import urljoin

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
_PREFORMATTED = frozenset(["listing", "pre", "textarea", "xmp"])
_HIDDEN = re.compile(r"(?:^|;)\s{0,9}display\s{0,9}:\s{0,9}none", re.IGNORECASE)
_KEEPS_WHITE_SPACE = re.compile(r"(?:^|;)\s{0,9}white-space\s{0,9}:\s{0,9}(?:pre|break-spaces)", re.IGNORECASE)
_ABSOLUTE_URL = re.compile(r"//|(?!javascript:|vbscript:|data:|cid:|about:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HREF_OR_URL = re.compile(
    r"""\bhref\s{0,9}=\s{0,9}(?:"[^"]*"|'[^']*'|[^\s"'>]+)|\b(?:https?://|www\.)[^\s<>"']+""", re.IGNORECASE
)
_BARE_AMPERSAND = re.compile(r"&(?!#?\w{1,32};)")
_CUT_OFF_TAG = re.compile(r"<[^<>]*\Z")
_BLOCK_TAG = re.compile(r"<(?:br|div|h[1-6]|li|p|table|tr)\b[^<>]*>", re.IGNORECASE)
_NO_TEXT = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|title)\b.*?(?:</\1|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)


def html_to_text(html: str) -> str:
    """Return the visible text of the first `MAX_HTML_LENGTH` characters of the HTML."""
    start = html if len(html) <= MAX_HTML_LENGTH else _CUT_OFF_TAG.sub("", html[:MAX_HTML_LENGTH])
    try:
        return _convert(_HREF_OR_URL.sub(_escape_ampersands, start))
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


def _escape_ampersands(url: re.Match[str]) -> str:
    # In a URL, `&not_before=` is a parameter. Browsers would read `&not` as a character, since an underscore follows. In text,
    # outside of `href`, they would also read `&region=` so.
    return _BARE_AMPERSAND.sub("&amp;", url[0])


def _without_tags(html: str) -> str:
    lines = unescape(_NO_TEXT.sub("", _BLOCK_TAG.sub("\n", html))).split("\n")
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))


class _Target:
    """Receives the elements and the text from lxml, and lays out the text."""

    def __init__(self) -> None:
        self.depth = 0
        self._layout = TextLayout()
        self._hidden_since: int | None = None  # the depth of a hidden element
        self._keeping_white_space: list[int] = []  # the depths of elements whose style keeps white space
        self._base = ""  # the URL that relative links start from
        self._link: tuple[str, int] | None = None  # the URL, and the position of the link's text
        self._link_table: int | None = None  # the depth of the table in the link
        self._cut_off_link = ""  # the URL of a link that just ended without text

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Start an element."""
        self.depth += 1
        style = attributes.get("style", "")
        if tag == "base" and not self._base:
            self._base = _url(attributes.get("href", ""), base="")
        if self._hidden_since is not None:
            return
        if tag in _SKIPPED or "hidden" in attributes or _HIDDEN.search(style):
            self._hidden_since = self.depth
            return
        self._continue_link(tag)
        if tag in {"a", "area", "img"}:
            self._start_inline(tag, attributes)
        else:
            self._start_block(tag, attributes)
        if tag not in _PREFORMATTED and _KEEPS_WHITE_SPACE.search(style):
            self._keeping_white_space.append(self.depth)
            self._layout.keep_white_space()

    def _start_inline(self, tag: str, attributes: dict[str, str]) -> None:
        text, url = attributes.get("alt", ""), _url(attributes.get("href", ""), base=self._base)
        if tag == "a":
            self._end_link()  # an `<a>` without an end tag ends at the next one
            self._link = url, self._layout.position
            return
        self._layout.add_word(text)
        if tag == "area" and url:  # a link in an image map
            self._layout.add_link(url, has_text=bool(text.strip()))

    def _start_block(self, tag: str, attributes: dict[str, str]) -> None:
        layout = self._layout
        if tag == "br":
            layout.add_line_break()
        elif tag in {"td", "th"}:
            layout.add_space()
        elif tag == "li":
            layout.start_item(attributes.get("value"))
        elif tag in _PREFORMATTED:
            layout.start_preformatted()
        else:
            self._break_lines(tag)
        if tag in {"ul", "ol"}:
            layout.start_list(attributes.get("start", "1") if tag == "ol" else None)

    def end(self, tag: str) -> None:
        """End an element."""
        self._end_styles()
        self.depth -= 1
        if self._hidden_since is not None:
            self._hidden_since = None if self.depth < self._hidden_since else self._hidden_since
        elif tag == "a":
            self._end_link(may_continue=True)
        elif tag in _PREFORMATTED:
            self._layout.end_preformatted()
        else:
            self._continue_link()
            if tag in {"ul", "ol"}:
                self._layout.end_list()
            self._break_lines(tag)

    def data(self, text: str) -> None:
        """Add text."""
        if self._hidden_since is None:
            self._continue_link()
            self._layout.add_text(text)

    def close(self) -> str:
        """Return the text."""
        self._continue_link()
        self._end_link()
        return self._layout.text()

    def _break_lines(self, tag: str) -> None:
        if tag in _LINES or tag in _PARAGRAPHS:
            self._layout.break_lines(2 if tag in _PARAGRAPHS else 1)

    def _end_styles(self) -> None:
        if self._keeping_white_space[-1:] == [self.depth]:
            self._keeping_white_space.pop()
            self._layout.end_white_space()
        if self._link_table == self.depth:
            self._end_link()

    def _end_link(self, *, may_continue: bool = False) -> None:
        self._link_table = None
        if self._link is None:
            return
        (url, position), self._link = self._link, None
        text = self._layout.text_since(position)
        if url and not text and may_continue:
            self._cut_off_link = url
        elif url and text not in {url, url.partition(":")[2].partition("?")[0]}:
            self._layout.add_link(url, has_text=bool(text))

    def _continue_link(self, tag: str = "") -> None:
        """Let a link that just ended without text go on in the table that starts, or else write its URL.

        libxml2 ends an open `<a>` before a table, as HTML 4 requires, but browsers show the table as a link.
        """
        if self._cut_off_link and tag == "table":
            self._link, self._link_table = (self._cut_off_link, self._layout.position), self.depth
        elif self._cut_off_link:
            self._layout.add_link(self._cut_off_link, has_text=False)
        self._cut_off_link = ""


def _url(href: str, *, base: str) -> str:
    """Return the URL without spaces, or an empty string if a reader of plain text could not use it."""
    url = re.sub("[\t\r\n]", "", href).strip().replace(" ", "%20")
    if base and url and not url.startswith("#") and not _SCHEME.match(url):
        try:
            url = urljoin(base, url)
        except ValueError:  # such as an IPv6 address without its bracket
            return ""
    if not _ABSOLUTE_URL.match(url):
        return ""
    return f"https:{url}" if url.startswith("//") else url  # an email has no address of its own to take the scheme from
