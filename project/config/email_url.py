"""Parses EMAIL_URL: the SMTP servers that emails are sent to, and their options. Pure functions, no I/O."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from project.config import relay_options
from project.config.relay_options import TokenSource

MAILBOX_URL = "mailbox://"
DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}  # RFC 5321, RFC 6409, RFC 8314
DEFAULT_TIMEOUT = 30.0  # seconds
# RFC 5321 section 4.5.3.2.6: a client that gives up sooner sends the email again, although the relay may have accepted it.
DEFAULT_DATA_DONE_TIMEOUT = 600.0
MAX_TIMEOUT = 600.0
DEFAULT_CONNECTIONS = 20
MAX_CONNECTIONS = 500
MAX_RELAYS = 10
# Neither separator can be a part of a URL: white space must be percent-encoded, and so must the slashes of a password.
_SEPARATOR = re.compile(r",?\s+|,(?=[a-z+]+://)")
OPTIONS = relay_options.OPTIONS | {"timeout", "data_done_timeout", "connections", "name"}


@dataclass(frozen=True)
class Relay:
    """An SMTP server, and how many `connections` may be open to it at the same time.

    Timeouts are in seconds. `data_done_timeout` applies to the reply to a whole message, and `timeout` to every other reply.
    Without `ca_file`, the CAs of the system are trusted. With `token_source`, the login uses XOAUTH2.
    """

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    starttls: bool = False
    implicit_tls: bool = False
    timeout: float = DEFAULT_TIMEOUT
    data_done_timeout: float = DEFAULT_DATA_DONE_TIMEOUT
    connections: int = DEFAULT_CONNECTIONS
    ca_file: str = ""
    verify: bool = True
    token_source: TokenSource | None = None
    ehlo_name: str = ""
    given_name: str = ""

    @property
    def name(self) -> str:
        """The option `name`, or the host and the port. For logs, metrics, events and pages, so it contains no login."""
        return self.given_name or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")

    @property
    def uses_tls(self) -> bool:
        """Return whether the connection is encrypted."""
        return self.starttls or self.implicit_tls


def parse_email_urls(text: str) -> tuple[Relay, ...]:
    """Return the relays in failover order, or none for `mailbox://`. The URLs are separated by white space or commas.

    Raises `ValueError`, with a message that never contains a password.
    """
    urls = [url for url in _SEPARATOR.split(text.strip()) if url]
    if len(urls) < 2:
        relay = parse_email_url(text.strip())
        return () if relay is None else (relay,)
    if len(urls) > MAX_RELAYS:
        raise ValueError(f"there are {len(urls)} URLs; at most {MAX_RELAYS} are allowed")
    relays = [_parse_numbered(number, url) for number, url in enumerate(urls, 1)]
    names = [relay.name for relay in relays]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two relays are called {duplicate}; give each a name with the option name")
    return tuple(relays)


def _parse_numbered(number: int, url: str) -> Relay:
    try:
        relay = parse_email_url(url)
    except ValueError as error:
        raise ValueError(f"URL {number}: {error}") from None
    if relay is None:
        raise ValueError(f"URL {number}: {MAILBOX_URL} cannot be combined with other URLs")
    return relay


def parse_email_url(url: str) -> Relay | None:
    """Return the relay, or None for `mailbox://`. Raises `ValueError`, with a message that never contains the password."""
    if url == MAILBOX_URL:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the host or port is malformed; the port must be a number up to 65535") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"{parts.scheme or 'no'}:// is not one of mailbox, {', '.join(DEFAULT_PORTS)}")
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError("percent-encode / ? and # in the username or password (%2F, %3F, %23), and @ in an option (%40)")
    if not parts.hostname:
        raise ValueError("the host is missing")
    if parts.path not in ("", "/") or parts.fragment:
        raise ValueError("only options may follow the host and port")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - OPTIONS:
        raise ValueError(f"unknown option {min(unknown)!r}; use {', '.join(sorted(OPTIONS))}")
    username, password, uses_tls = unquote(parts.username or ""), unquote(parts.password or ""), parts.scheme != "smtp"
    return Relay(
        host=parts.hostname,
        port=port or DEFAULT_PORTS[parts.scheme],
        username=username,
        password=password,
        starttls=parts.scheme == "smtp+starttls",
        implicit_tls=parts.scheme == "smtps",
        timeout=_timeout(options, "timeout", DEFAULT_TIMEOUT),
        data_done_timeout=_timeout(options, "data_done_timeout", DEFAULT_DATA_DONE_TIMEOUT),
        connections=_connections(options.get("connections", str(DEFAULT_CONNECTIONS))),
        ca_file=relay_options.parse_ca_file(options, uses_tls=uses_tls),
        verify=relay_options.parse_verify(options, uses_tls=uses_tls),
        token_source=relay_options.parse_token_source(options, has_username=bool(username), has_password=bool(password)),
        ehlo_name=relay_options.parse_ehlo_name(options),
        given_name=relay_options.parse_name(options),
    )


def _timeout(options: Mapping[str, str], name: str, default: float) -> float:
    try:
        timeout = float(options.get(name, default))
    except ValueError:
        timeout = math.nan
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(f"{name} must be more than 0 and at most {MAX_TIMEOUT:g} seconds")
    return timeout


def _connections(text: str) -> int:
    if not (re.fullmatch("[0-9]{1,3}", text) and 1 <= int(text) <= MAX_CONNECTIONS):
        raise ValueError(f"connections must be a number from 1 to {MAX_CONNECTIONS}")
    return int(text)
