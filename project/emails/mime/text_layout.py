"""Layout of plain text: words become lines, paragraphs and lists, with white space as browsers show it. Pure."""

import re
from typing import TypeGuard

MAX_INDENT = 8  # levels of nested lists that are indented
MAX_LINK_PIECES = 100  # of the text of a link that is compared with its URL

_SPACES = re.compile(r"[ \t\r\n\f]+")
# Such characters at the end of a line are there for their width only: in the cells that space a table out, and after the text
# that an inbox shows beside the subject.
_INVISIBLE = " \t\u00a0\u00ad\u034f\u2007\u200b\u200c\u200d\u2060\ufeff"
_CLOSING = frozenset(".,;:!?…)]}>'\"’”»、。，；：！？）」』")  # characters that need no space before them
_OPENING = frozenset("([{<'\"‘“«（「『")


class TextLayout:
    """Collects text. White space and line breaks are written only when text follows them."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._breaks = 0  # line breaks before the next word
        self._space = False  # whether a space comes before the next word
        self._at_start = True  # whether the line has no word yet
        self._after_item = False  # whether the line has the marker of a list item and no word yet
        self._needs_gap = False  # whether the next word needs a space before it, since a link or an image came before
        self._preformatted = 0  # open elements
        self._at_preformatted_start = False
        self._lists: list[int | None] = []  # the next number of each open list; None for bullets

    @property
    def position(self) -> int:
        """Return the position of the next piece of text."""
        return len(self._pieces)

    def add_text(self, text: str) -> None:
        """Add text with collapsed white space, or unchanged within preformatted text."""
        if self._preformatted:
            self._add_lines(text)
            return
        collapsed = _SPACES.sub(" ", text)
        self._space = self._space or collapsed.startswith(" ")
        if word := collapsed.strip(" "):
            self._write(word)
            self._space = collapsed.endswith(" ")

    def add_word(self, text: str) -> None:
        """Add text that has a gap before and after it, such as the description of an image."""
        if word := _SPACES.sub(" ", text).strip(" "):
            last = self._pieces[-1][-1:] if self._pieces else ""
            self._space = self._space or self._needs_gap or last.isalnum()
            self._write(word)
            self._needs_gap = True

    def add_link(self, url: str, *, has_text: bool) -> None:
        """Add the URL of a link after the link's text."""
        if has_text:
            self._pieces.append(f" ({url})")
        else:
            last = self._pieces[-1][-1:] if self._pieces else ""
            self._space = self._space or last not in _OPENING
            self._write(url)
        self._needs_gap = True

    def add_space(self) -> None:
        """Add a space before the next word."""
        self._space = True

    def add_line_break(self) -> None:
        """Add a line break."""
        if self._preformatted:
            self._add_lines("\n")
        else:
            self._breaks = min(self._breaks + 1, 2)

    def break_lines(self, count: int) -> None:
        """Start a new line, or with a count of 2 a new paragraph."""
        if not self._after_item:
            self._breaks = max(self._breaks, count)

    def start_item(self, value: str | None = None) -> None:
        """Start a list item, on a new line. In a list with numbers, it has the number `value`, if any."""
        number = self._lists[-1] if self._lists else None
        if number is not None and _is_number(value):
            number = int(value)
        if self._lists and number is not None:
            self._lists[-1] = number + 1
        self._after_item = False
        self.break_lines(1)
        indent = "  " * min(len(self._lists) - 1, MAX_INDENT)
        self._write(f"{indent}{'-' if number is None else f'{number}.'} ")
        self._at_start = self._after_item = True

    def start_list(self, first_number: str | None) -> None:
        """Start a list with numbers, or with bullets if the first number is None."""
        self._lists.append(None if first_number is None else int(first_number) if _is_number(first_number) else 1)
        if self._after_item:  # a list as the first content of an item
            self._after_item, self._breaks = False, 1

    def end_list(self) -> None:
        """End a list."""
        self._after_item = False
        if self._lists:
            self._lists.pop()

    def start_preformatted(self) -> None:
        """Start a paragraph of preformatted text."""
        self.break_lines(2)
        self._space, self._at_preformatted_start = False, True
        self._preformatted += 1

    def end_preformatted(self) -> None:
        """End preformatted text."""
        self._preformatted = max(self._preformatted - 1, 0)
        self.break_lines(2)

    def keep_white_space(self) -> None:
        """Keep the white space and the line ends of the text that follows."""
        self._preformatted += 1

    def end_white_space(self) -> None:
        """Collapse white space again."""
        self._preformatted = max(self._preformatted - 1, 0)

    def text_since(self, position: int) -> str:
        """Return the text since a position, without white space around it. Of a long text, return the start only."""
        return "".join(self._pieces[position : position + MAX_LINK_PIECES]).strip()

    def text(self) -> str:
        """Return the whole text, without invisible characters at the ends of lines, and without lines of nothing else."""
        lines = list[str]()
        for line in "".join(self._pieces).split("\n"):
            visible = line.rstrip(_INVISIBLE)
            if visible or not line:
                lines.append(visible)
            elif lines and not lines[-1]:
                lines.pop()
        return "\n".join(lines).strip("\n")

    def _write(self, word: str) -> None:
        if self._breaks and self._pieces:
            self._pieces.append("\n" * self._breaks)
            self._at_start = True
        elif not self._at_start and (self._space or (self._needs_gap and word[0] not in _CLOSING)):
            self._pieces.append(" ")
        self._pieces.append(word)
        self._breaks, self._space = 0, False
        self._at_start = self._after_item = self._needs_gap = False

    def _add_lines(self, text: str) -> None:
        if self._at_preformatted_start:  # HTML ignores a line break here
            text = text.removeprefix("\n")
        self._at_preformatted_start = False
        for number, line in enumerate(text.split("\n")):
            self._breaks += 1 if number else 0
            if line:
                self._write(line)


def _is_number(text: str | None) -> TypeGuard[str]:
    return text is not None and re.fullmatch("-?[0-9]{1,9}", text) is not None
