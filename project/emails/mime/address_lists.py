"""Address lists: splits text such as `Ada <ada@example.com>, bob@example.com` into its mailboxes. Pure."""

import re

# A quotation mark opens a quoted string at the start of a word only. Within a word, as in `12" pizza`, it is a character.
_QUOTED = r'(?<![^\s,;<])"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(rf'({_QUOTED})|([,;])|((?<![^\s,;<])")|[^",;]+|"', re.DOTALL)
_GROUP = re.compile(r":[^;]*;")
_ADDRESS = re.compile(r"""[^\s@,;<>()"]+@[^\s@,;<>()"]+""")
_ADDRESS_AND_SEPARATOR = re.compile(r"""[^\s@,;<>()"]@[^\s@,;<>()"]+["')>]*\s*[,;]""")


def split_mailboxes(text: str) -> list[str]:
    """Split text at the commas and semicolons between its mailboxes.

    A separator within a quoted string does not split, and neither does a separator in a display name, as in
    `Lovelace, Ada <ada@example.com>`. Empty elements are dropped, such as after a final separator. The mailboxes are not
    validated. Raises ValueError for a group, such as `Team: ada@example.com;`, and for an unclosed quotation mark.
    """
    if "," not in text and ";" not in text:
        return [text]
    mailboxes, name = list[str](), ""
    for element, separator in _elements(text):
        if re.search("[@<>]", element):
            mailboxes.append(name + element)
            name = ""
        elif name or element.strip():
            name += element + separator  # the start of a display name
    return [*mailboxes, name] if name else mailboxes


def _elements(text: str) -> list[tuple[str, str]]:
    """Return each element of the list with the separator after it."""
    elements, element, unquoted = list[tuple[str, str]](), "", ""
    for match in _TOKEN.finditer(text):
        quoted, separator, unclosed = match.groups()
        if unclosed:
            raise ValueError("A quotation mark is not closed.")
        unquoted += "" if quoted else match[0]
        if separator:
            elements.append((element, separator))
            element = ""
        else:
            element += match[0]
    if _GROUP.search(unquoted):
        raise ValueError('Groups of addresses are not supported. Put a name that contains ":" and ";" in quotation marks.')
    return [*elements, (element, "")]


def check_name(name: str, *, address: str, is_quoted: bool) -> None:
    """Raise ValueError if a display name could be read as a further address, which would get no email."""
    others = () if is_quoted else [each for each in _ADDRESS.findall(name) if each.lower() != address.lower()]
    if others or _ADDRESS_AND_SEPARATOR.search(name):
        raise ValueError("The display name contains an address. Separate addresses with commas.")
