"""Builds a curl command that users can try an API key with. Pure functions, no I/O."""

import json
from collections.abc import Iterable, Sequence
from shlex import quote

_LINE_BREAK = " \\\n  "


def curl_command(server: str, key: str, *, scopes: Iterable[str], allowed_senders: Sequence[str], to: str) -> str:
    """Return a command that sends an email with the key, or calls `/api/me` if the key may not send."""
    authorization = f"-H {quote(f'Authorization: Bearer {key}')}"
    if "emails:send" not in scopes:
        return f"curl {quote(f'{server}/api/me')} {authorization}"
    payload = {"from": sample_from_address(allowed_senders), "to": to, "subject": "Hello", "text": "The key works."}
    parts = (f"curl -X POST {quote(f'{server}/api/emails')}", authorization, "-H 'Content-Type: application/json'")
    return _LINE_BREAK.join((*parts, f"-d {quote(json.dumps(payload))}"))


def sample_from_address(patterns: Sequence[str]) -> str:
    """Return an email address that matches the first pattern, or an example address if there are no patterns."""
    local, _, domain = (patterns[0] if patterns else "*@example.com").rpartition("@")
    return f"{'hello' if local == '*' else local}@{domain.replace('*.', 'mail.')}"
