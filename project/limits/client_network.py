"""Requests are counted by the client's network: its IPv4 address, or the /64 network of its IPv6 address. No I/O."""

from ipaddress import IPv6Address, ip_address, ip_network

IPV6_PREFIX_LENGTH = 64  # bits; one customer typically has a whole /64, so all its IP addresses are counted together


def rate_limit_network(address: str | None) -> str | None:
    """Return the IPv4 address or the first address of the IPv6 network, or None for a Unix socket, which has no IP address."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, IPV6_PREFIX_LENGTH), strict=False).network_address)


def valid_ip_address(text: str | None) -> str | None:
    """Return the IP address without a zone, or None for a Unix socket, which has no IP address."""
    try:
        return str(ip_address((text or "").partition("%")[0]))
    except ValueError:
        return None
