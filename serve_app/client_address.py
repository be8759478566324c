"""Who is asking: the address of the client, whatever it claims."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.requests import Request

from serve_app.settings import Network

Address = IPv4Address | IPv6Address
UNKNOWN: Final = "unknown"
IPV6_PREFIX: Final = 64
"""One IPv6 customer holds a /64 at least: limits count it as one client."""


def client_subject(request: Request, trusted: Sequence[Network]) -> str:
    """What limits and lockouts count as one client: an IPv4 address, or an IPv6 /64.

    Args:
        request: Its peer counts; where that is a trusted proxy, the right-most entry of X-Forwarded-For that
            is none. What is left of it was written by the client and is not read.
        trusted: Networks of proxies that append to X-Forwarded-For.
    """
    address = _parse(request.client.host) if request.client else None
    if address is None:
        return UNKNOWN
    if _is_trusted(address, trusted):
        for entry in reversed(",".join(request.headers.getlist("x-forwarded-for")).split(",")):
            forwarded = _parse(entry)
            if forwarded is None:  # a proxy that writes nonsense is itself the client
                break
            address = forwarded
            if not _is_trusted(address, trusted):
                break
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_PREFIX), strict=False))
    return str(address)


def is_https(request: Request, trusted: Sequence[Network]) -> bool:
    """Whether the client's own connection is encrypted, as far as a trusted proxy says."""
    address = _parse(request.client.host) if request.client else None
    if address is not None and _is_trusted(address, trusted):
        forwarded = request.headers.get("x-forwarded-proto", "").split(",")[-1].strip().lower()
        if forwarded:
            return forwarded == "https"
    return request.url.scheme == "https"


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _parse(text: str) -> Address | None:
    """An address as proxies write it: with or without a port, IPv6 in brackets or not."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
