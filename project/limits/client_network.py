"""Whom calls from an address are counted for. Pure."""

from ipaddress import IPv6Address, ip_address, ip_network

IPV6_PREFIX_LENGTH = 64  # bits of an IPv6 address: all that begin with them are one customer's, who has more than can be counted


def rate_limit_network(address: str | None) -> str | None:
    """The address, or the first of its site's if it is an IPv6 one; None for what is no address, such as a Unix socket's."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, IPV6_PREFIX_LENGTH), strict=False).network_address)
