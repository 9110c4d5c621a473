"""Calendar invitations: `text/calendar` with a method is sent as an alternative to the text, as calendar programs expect.

Such a part makes email clients offer to accept or decline (RFC 6047 section 2.4). In an attached file, most show no buttons.
"""

import re

_METHOD = re.compile(r";\s*method=", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset=", re.IGNORECASE)


def is_invitation(content_type: str) -> bool:
    """Return whether a file of this type is a calendar invitation, such as `text/calendar; method=REQUEST`."""
    return content_type.partition(";")[0].strip().lower() == "text/calendar" and _METHOD.search(content_type) is not None


def with_charset(content_type: str) -> str:
    """Return the content type with `charset`, without which clients read a calendar as ASCII."""
    return content_type if _CHARSET.search(content_type) else f'{content_type}; charset="utf-8"'
