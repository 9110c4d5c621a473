"""A line for the shell that tries a key. Pure."""

import json
from collections.abc import Iterable, Sequence
from shlex import quote

_LINE_BREAK = " \\\n  "


def curl_command(server: str, key: str, *, scopes: Iterable[str], allowed_senders: Sequence[str], to: str) -> str:
    """Send a mail with the key, or ask who it is if it may not send."""
    bearer = f"-H {quote(f'Authorization: Bearer {key}')}"
    if "emails:send" not in scopes:
        return f"curl {quote(f'{server}/api/me')} {bearer}"
    mail = {"from": sample_from_address(allowed_senders), "to": to, "subject": "Hello", "text": "The key works."}
    parts = (f"curl -X POST {quote(f'{server}/api/emails')}", bearer, "-H 'Content-Type: application/json'")
    return _LINE_BREAK.join((*parts, f"-d {quote(json.dumps(mail))}"))


def sample_from_address(patterns: Sequence[str]) -> str:
    """An address that the first pattern stands for."""
    local, _, domain = (patterns[0] if patterns else "*@example.com").rpartition("@")
    return f"{'hello' if local == '*' else local}@{domain.replace('*.', 'mail.')}"
