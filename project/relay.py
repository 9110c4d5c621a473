"""EMAIL_URL: which SMTP server takes our mail, and how to talk to it. Pure."""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

EMBEDDED = "mailbox://"
DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}  # RFC 5321, RFC 6409, RFC 8314
DEFAULT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Relay:
    """An SMTP server. `timeout` in seconds, for each step of the conversation."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    starttls: bool = False
    implicit_tls: bool = False
    timeout: float = DEFAULT_TIMEOUT


def parse_email_url(url: str) -> Relay | None:
    """The relay that `url` names, or None for `mailbox://`. Raises ValueError, which never repeats the password."""
    if url == EMBEDDED:
        return None
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"{parts.scheme or 'no'}:// is not one of mailbox, {', '.join(DEFAULT_PORTS)}")
    if not parts.hostname:
        raise ValueError("it names no host")
    return Relay(
        host=parts.hostname,
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        starttls=parts.scheme == "smtp+starttls",
        implicit_tls=parts.scheme == "smtps",
        timeout=_timeout(parts.query),
    )


def _timeout(query: str) -> float:
    options = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))
    timeout = float(options.pop("timeout", [str(DEFAULT_TIMEOUT)])[-1])
    if options:
        raise ValueError(f"it has no option {min(options)!r}; there is timeout, in seconds")
    if not 0 < timeout <= 600:
        raise ValueError("timeout is more than 0 and at most 600 seconds")
    return timeout
