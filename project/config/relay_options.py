"""Parses the options of EMAIL_URL that are about TLS, the login and the EHLO name. Pure functions, no I/O."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

OPTIONS = frozenset({"ca_file", "verify", "auth", "token_file", "token_command", "ehlo_name"})
XOAUTH2 = "xoauth2"
MAX_HOST_NAME_LENGTH = 253
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_ADDRESS_LITERAL = re.compile(r"\[(?P<tag>IPv6:)?(?P<address>[0-9A-Fa-f.:]{2,45})\]")


@dataclass(frozen=True)
class TokenSource:
    """The source of the access token for XOAUTH2: a file, or a command that prints the token. One of them is empty."""

    file: str = ""
    command: tuple[str, ...] = field(default=(), repr=False)  # the arguments may contain a secret


def parse_name(options: Mapping[str, str]) -> str:
    """Return the relay's name, or "" to call it by its host and port."""
    name = options.get("name", "")
    if "name" in options and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
        raise ValueError("name must have 1 to 63 letters, digits, dots, hyphens and underscores")
    return name


def parse_ca_file(options: Mapping[str, str], *, uses_tls: bool) -> str:
    """Return the path of the file with the trusted CAs, or "" to trust those of the system."""
    if "ca_file" not in options:
        return ""
    if not uses_tls:
        raise ValueError("ca_file needs smtp+starttls:// or smtps://")
    return _absolute_path("ca_file", options["ca_file"])


def parse_verify(options: Mapping[str, str], *, uses_tls: bool) -> bool:
    """Return whether the relay's certificate is verified."""
    text = options.get("verify", "true")
    if text not in ("true", "false"):
        raise ValueError("verify must be true or false")
    if "verify" in options and not uses_tls:
        raise ValueError("verify needs smtp+starttls:// or smtps://")
    if text == "false" and "ca_file" in options:
        raise ValueError("ca_file has no effect with verify=false; remove one of them")
    return text == "true"


def parse_token_source(options: Mapping[str, str], *, has_username: bool, has_password: bool) -> TokenSource | None:
    """Return the source of the token for XOAUTH2, or None for a login with a password or no login."""
    given = [name for name in ("token_file", "token_command") if name in options]
    if "auth" not in options:
        if given:
            raise ValueError(f"{given[0]} needs auth={XOAUTH2}")
        return None
    if options["auth"] != XOAUTH2:
        raise ValueError(f"auth must be {XOAUTH2}; without auth, the relay's methods are used with the password")
    if not has_username or has_password:
        raise ValueError(f"auth={XOAUTH2} needs a username and no password: the token takes its place")
    if len(given) != 1:
        raise ValueError(f"auth={XOAUTH2} needs either token_file or token_command")
    if given == ["token_file"]:
        return TokenSource(file=_absolute_path("token_file", options["token_file"]))
    return TokenSource(command=_command(options["token_command"]))


def parse_ehlo_name(options: Mapping[str, str]) -> str:
    """Return the name for the EHLO command, or "" for the host name of this machine."""
    name = options.get("ehlo_name", "")
    if "ehlo_name" in options and not (_is_host_name(name) or _is_address_literal(name)):
        raise ValueError("ehlo_name must be a host name, or an address such as [192.0.2.1] or [IPv6:2001:db8::1]")
    return name


def _command(text: str) -> tuple[str, ...]:
    try:
        arguments = tuple(shlex.split(text))
    except ValueError:
        raise ValueError("token_command has a quotation mark or backslash without its counterpart") from None
    if "\0" in text:
        raise ValueError("token_command must not contain a NUL character")
    return (_absolute_path("token_command", arguments[0] if arguments else ""), *arguments[1:])


def _absolute_path(name: str, path: str) -> str:
    if not path.startswith("/") or not path.isprintable():
        raise ValueError(f"{name} must be an absolute path")
    return path


def _is_host_name(name: str) -> bool:
    """Return whether the name is a host name in ASCII (RFC 5321 section 2.3.5), and no IP address without brackets."""
    labels = name.split(".")
    is_valid = len(name) <= MAX_HOST_NAME_LENGTH and all(_LABEL.fullmatch(label) for label in labels)
    return is_valid and not labels[-1].isdigit()


def _is_address_literal(name: str) -> bool:
    """Return whether the name is an IP address in brackets (RFC 5321 section 4.1.3)."""
    match = _ADDRESS_LITERAL.fullmatch(name)
    if match is None:
        return False
    try:
        (IPv6Address if match["tag"] else IPv4Address)(match["address"])
    except ValueError:
        return False
    return True
