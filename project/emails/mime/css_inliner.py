"""The style sheets of a mail, written into its elements, since some readers of mail drop them. It fetches nothing. Pure."""

import re

from css_inline import CSSInliner, InlineError

MAX_HTML_LENGTH = 200_000  # characters; Gmail cuts a mail off after half of that
# The library goes into each element with 700 bytes of the stack, and where that ends, so does the process: with the usual 8 MiB,
# eleven thousand elements deep. It also takes the square of their number. So many tags need 1.4 MiB at most.
MAX_TAGS = 2_000
# The library tries each selector on each element, and looks for each property among those that an element has by then: minutes
# for a sheet of eleven thousand properties that there are not, in which nobody else has the interpreter. So much takes some
# tenths of a second, and is more than mails have that Gmail shows with their styles (16 KB of them).
MAX_CHARACTERS_TIMES_TAGS = 20_000_000
MAX_RULES_SQUARED_TIMES_TAGS = 800_000_000  # selectors and declarations, each counted once

_INLINER = CSSInliner(keep_style_tags=True, keep_link_tags=True, load_remote_stylesheets=False)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_STYLE = re.compile(r"<style[\s/>].*?(?:</style|\Z)", re.IGNORECASE | re.DOTALL)
_RULE_SEPARATOR = re.compile("[;{}]")
_TAG = re.compile(r"<[a-z]", re.IGNORECASE)
_FOR_OTHER_MEDIA = re.compile(
    r"""<style(?=\s(?:[^<>]*\s)?media\s*+=\s*+(?!["']\s*+(?:all|screen)\s*+["']|(?:all|screen)[\s>]))""", re.IGNORECASE
)
_DOCTYPE = re.compile(r"\A\s*+<!doctype[^>]*>", re.IGNORECASE)
_CONDITION = re.compile(r"<!--(\[(?:if [^<>]*|endif)\])-->", re.IGNORECASE)


def inline_css(html: str) -> str:
    """The HTML with the rules of its style elements as style attributes too. The elements stay, for media queries and `:hover`.

    HTML without them is given back as it is, and so is what is too large, or beyond the library.
    """
    if len(html) > MAX_HTML_LENGTH or not _STYLE.search(_COMMENT.sub("", html)) or _is_too_expensive(html):
        return html
    try:
        written = _INLINER.inline(_FOR_OTHER_MEDIA.sub('<style data-css-inline="ignore"', html))
    except InlineError:  # a style attribute that makes no sense; a browser passes over it
        return html
    written = _CONDITION.sub(r"<!\1>", written)  # Outlook's <![if mso]>, which HTML's own rules read as a comment
    doctype = _DOCTYPE.match(html)  # the library writes its own, by which a reader may lay the mail out in another way
    return _DOCTYPE.sub(lambda _: doctype[0], written, count=1) if doctype else written


def _is_too_expensive(html: str) -> bool:
    tags, sheets = len(_TAG.findall(html)), "".join(_STYLE.findall(html))
    pieces = len(set(_RULE_SEPARATOR.split(sheets)))
    return tags > MAX_TAGS or tags * len(sheets) > MAX_CHARACTERS_TIMES_TAGS or tags * pieces**2 > MAX_RULES_SQUARED_TIMES_TAGS
