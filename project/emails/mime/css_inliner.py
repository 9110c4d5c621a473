"""CSS inliner: copies the rules of `<style>` elements into `style` attributes, because some email clients drop style sheets.

The inliner makes no network requests and reads no files. Pure.
"""

import re

from css_inline import CSSInliner, InlineError

from project.emails.mime.css_cost import is_too_expensive

MAX_HTML_LENGTH = 200_000  # characters; Gmail clips an email at about half of this length
MAX_GROWTH_FACTOR = 4  # of inlining; HTML that would grow more is sent as it came
# The library recurses into nested elements and uses 700 bytes of the stack for each level, so css_cost.MAX_ELEMENTS also bounds
# the stack: at a depth of eleven thousand elements, it would overflow the usual stack of 8 MiB and kill the process.

_INLINER = CSSInliner(keep_style_tags=True, keep_link_tags=True, load_remote_stylesheets=False)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_STYLE = re.compile(r"<style[\s/>].*?(?:</style|\Z)", re.IGNORECASE | re.DOTALL)
_STYLE_CONTENT = re.compile(r"<style(?:[\s/][^>]*)?>(.*?)(?:</style|\Z)", re.IGNORECASE | re.DOTALL)
_FOR_OTHER_MEDIA = re.compile(
    r"""<style(?=\s(?:[^<>]*\s)?media\s*+=\s*+(?!["']\s*+(?:all|screen)\s*+["']|(?:all|screen)[\s>]))""", re.IGNORECASE
)
_DOCTYPE = re.compile(r"\A\s*+<!doctype[^>]*>", re.IGNORECASE)
_CONDITION = re.compile(r"<!--(\[(?:if [^<>]*|endif)\])-->", re.IGNORECASE)


def inline_css(html: str) -> str:
    """Return the HTML with the rules of its style elements copied into style attributes.

    The style elements stay, for media queries and `:hover`. The HTML is returned unchanged if it has no style elements, is too
    large or too complex, would become more than `MAX_GROWTH_FACTOR` times as large, or if the library cannot process it.
    """
    if len(html) > MAX_HTML_LENGTH or not _STYLE.search(_COMMENT.sub("", html)):
        return html
    if is_too_expensive(html, "".join(_STYLE_CONTENT.findall(html))):
        return html
    try:
        inlined = _INLINER.inline(_FOR_OTHER_MEDIA.sub('<style data-css-inline="ignore"', html))
    except InlineError:  # a malformed style attribute, which a browser ignores
        return html
    if len(inlined) > MAX_GROWTH_FACTOR * len(html):
        return html
    inlined = _CONDITION.sub(r"<!\1>", inlined)  # restore Outlook's <![if mso]>, which HTML parsers read as a comment
    doctype = _DOCTYPE.match(html)  # the library writes a doctype of its own, which could change the layout mode
    return _DOCTYPE.sub(lambda _: doctype[0], inlined, count=1) if doctype else inlined
