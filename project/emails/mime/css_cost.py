"""Estimate of what inlining CSS would cost, so that expensive HTML is left as it is. Pure.

The library holds the GIL while it works, so its work must stay within a few hundredths of a second. Its HTML parser repeats
unclosed formatting elements in each following paragraph, as browsers do: 11 KB of HTML could become 490 MB.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

MAX_ELEMENTS = 2_000
MAX_REPEATED_ELEMENTS = 20_000
MAX_WORDS_PER_TAG = 1_000  # the parser compares each attribute of a tag with all others
MAX_RULES = 5_000  # braces and commas in the style sheets; Gmail supports 16 KB of styles
MAX_GROWTH = 1_000_000  # characters that the style attributes may add, by an estimate that is often too high
MAX_GROWTH_FACTOR = 10  # the same, in lengths of the HTML
# The library tests the selectors on the elements. A selector with brackets can take 20 times as long as a simple one.
MAX_SELECTOR_TESTS = 1_000_000
SLOW_SELECTOR_WEIGHT = 20
# It searches each property among the properties that the element already has.
MAX_PROPERTY_COMPARISONS = 20_000_000

_TAG = re.compile(r"<(/?)([a-z][^\s/<>]*)([^<>]*)", re.IGNORECASE)
_FORMATTING = frozenset(["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"])
_TAG_TEXT = re.compile(r"<[a-z][^<>]{1000,}", re.IGNORECASE)
# A start tag of one of these ends an element that is open, and with it the formatting elements inside.
_ENDING = frozenset(["p", "li", "td", "th", "tr", "dd", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "option", "button"])
_CLASSES = re.compile(r"""\bclass\s{0,9}=\s{0,9}(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_STYLE_ATTRIBUTE = re.compile(r"""\bstyle\s{0,9}=\s{0,9}(?:"[^"]*"|'[^']*')""", re.IGNORECASE)
_COMMENTS_AND_STRINGS = re.compile(r"""/\*.*?(?:\*/|\Z)|"[^"\n]*"|'[^'\n]*'""", re.DOTALL)
_COMBINATOR = re.compile(r"[\s>+~]+")
_COMPOUND = re.compile(r"([a-z][\w-]*|\*)?((?:[.#][\w-]+)*)", re.IGNORECASE)


@dataclass(frozen=True)
class _Elements:
    """The elements of the HTML, and how many formatting elements the parser would repeat."""

    count: int
    repeated: int
    by_name: Counter[str]
    by_class: Counter[str]
    formatting_classes: frozenset[str]

    def matching(self, selector: str) -> int:
        """Return how many elements the selector could match at most."""
        compound = _COMPOUND.match(_COMBINATOR.split(selector.strip())[-1])
        name, classes = (compound[1] or "*", re.findall(r"\.([\w-]+)", compound[2])) if compound else ("*", [])
        counts = [self.by_class[each] for each in classes] + ([] if name == "*" else [self.by_name[name.lower()]])
        is_repeated = name in _FORMATTING or (name == "*" and self.formatting_classes.issuperset(classes))
        return min(counts, default=self.count) + (self.repeated if is_repeated else 0)


def is_too_expensive(html: str, sheets: str) -> bool:
    """Return whether inlining the style sheets of the HTML could take too much time or memory."""
    if sheets.count("{") + sheets.count(",") > MAX_RULES or any(
        len(tag.split()) > MAX_WORDS_PER_TAG for tag in _TAG_TEXT.findall(html)
    ):
        return True
    elements = _count_elements(html)
    if elements.count > MAX_ELEMENTS or elements.repeated > MAX_REPEATED_ELEMENTS:
        return True
    own_properties = max((each.count(";") + 1 for each in _STYLE_ATTRIBUTE.findall(html)), default=0)
    growth = tests = applied = 0
    properties = set[str]()
    for selectors, declarations in _rules(sheets):
        names = [each.partition(":")[0].strip() for each in declarations.split(";") if ":" in each]
        matches = sum(elements.matching(selector) for selector in selectors)
        growth += matches * len(declarations)
        applied += matches * len(names)
        properties.update(names)
        tests += (elements.count + elements.repeated) * sum(
            SLOW_SELECTOR_WEIGHT if "(" in each or "[" in each else 1 for each in selectors
        )
    comparisons = applied * (len(properties) + own_properties)
    max_growth = min(MAX_GROWTH, MAX_GROWTH_FACTOR * len(html))
    return growth > max_growth or tests > MAX_SELECTOR_TESTS or comparisons > MAX_PROPERTY_COMPARISONS


def _count_elements(html: str) -> _Elements:
    names, classes, formatting_classes = Counter[str](), Counter[str](), set[str]()
    open_formatting = repeated = 0
    for end, tag, attributes in _TAG.findall(html):
        name = tag.lower()
        own_classes = "".join(_CLASSES.findall(attributes)[0]).split() if not end and _CLASSES.search(attributes) else []
        if name in _FORMATTING:
            open_formatting = max(open_formatting - 1, 0) if end else open_formatting + 1
            formatting_classes.update(own_classes)
        elif (end and name != "span") or name in _ENDING:
            repeated += open_formatting  # the parser opens them again after the block
        if not end:
            names[name] += 1
            classes.update(own_classes)
    return _Elements(names.total(), repeated, names, classes, frozenset(formatting_classes))


def _rules(sheets: str) -> Iterator[tuple[list[str], str]]:
    """Yield the selectors and the declarations of each rule outside of at-rules such as `@media`, which are not inlined."""
    prelude, depth, is_at_rule = "", 0, False
    for text, brace in re.findall("([^{}]*)([{}]|$)", _COMMENTS_AND_STRINGS.sub("", sheets)):
        if brace == "{":
            if depth == 0:
                prelude, is_at_rule = text.rpartition(";")[2], text.lstrip().startswith("@") and ";" not in text
            depth += 1
        elif depth:  # the end of the sheet closes an open rule, too
            depth -= 1
            if depth == 0 and not is_at_rule:
                yield prelude.split(","), text
