"""CSS inliner: copies the rules of `<style>` elements into `style` attributes, because some email clients drop style sheets.

The inliner makes no network requests and reads no files. Pure.
"""

import re

from css_inline import CSSInliner, InlineError

MAX_HTML_LENGTH = 200_000  # characters; Gmail clips an email at about half of this length
# The library recurses into nested elements and uses 700 bytes of the stack for each level. A stack overflow kills the process:
# with the usual stack of 8 MiB, at a depth of eleven thousand elements. The running time is also quadratic in the number of
# elements. With `MAX_TAGS` tags, the library needs at most 1.4 MiB of the stack.
MAX_TAGS = 2_000
# The library tries each selector on each element, and searches each property among the properties that the element already has.
# It holds the GIL all this time: minutes for a style sheet with eleven thousand made-up properties. With these limits, inlining
# takes a few tenths of a second. The limits allow more than the 16 KB of styles that Gmail supports.
MAX_CHARACTERS_TIMES_TAGS = 20_000_000
MAX_RULES_SQUARED_TIMES_TAGS = 800_000_000  # rules are distinct selectors and declarations

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
    """Return the HTML with the rules of its style elements copied into style attributes.

    The style elements stay, for media queries and `:hover`. The HTML is returned unchanged if it has no style elements, is too
    large or too complex, or if the library cannot process it.
    """
    if len(html) > MAX_HTML_LENGTH or not _STYLE.search(_COMMENT.sub("", html)) or _is_too_expensive(html):
        return html
    try:
        inlined = _INLINER.inline(_FOR_OTHER_MEDIA.sub('<style data-css-inline="ignore"', html))
    except InlineError:  # a malformed style attribute, which a browser ignores
        return html
    inlined = _CONDITION.sub(r"<!\1>", inlined)  # restore Outlook's <![if mso]>, which HTML parsers read as a comment
    doctype = _DOCTYPE.match(html)  # the library writes a doctype of its own, which could change the layout mode
    return _DOCTYPE.sub(lambda _: doctype[0], inlined, count=1) if doctype else inlined


def _is_too_expensive(html: str) -> bool:
    tags, sheets = len(_TAG.findall(html)), "".join(_STYLE.findall(html))
    rules = len(set(_RULE_SEPARATOR.split(sheets)))
    return tags > MAX_TAGS or tags * len(sheets) > MAX_CHARACTERS_TIMES_TAGS or tags * rules**2 > MAX_RULES_SQUARED_TIMES_TAGS
