"""Keeps what is sent to the internet from ending inside the network that the service stands in.

A name is looked up when a connection is opened, and what it leads to then is what is connected to: a name that leads
elsewhere a moment later changes nothing.
"""

import ipaddress
import socket
from collections.abc import Collection

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses as NAT64 writes them."""
_RESERVED = tuple(
    map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48"))
)
"""What `ipaddress` may take for the internet's: the address of Azure's services within every network (Microsoft,
"What is IP address 168.63.129.16?"), and those that stand for a network's own (RFC 6890, 4291, 2765, 8215).
"""


class AddressRefused(OSError):
    """A name leads to no public address."""


def is_public(address: str) -> bool:
    """Whether an IP address, or the IPv4 address that is written into it, is one of the internet's."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        found = inner or found
    return found.is_global and not found.is_multicast and not any(found in network for network in _RESERVED)


def is_private_literal(host: str) -> bool:
    """Whether a host is written as an address that is none of the internet's."""
    try:
        return not is_public(host)
    except ValueError:
        return False


class PublicResolver(AbstractResolver):
    """Looks names up; of those that are not `listed`, only public addresses are found."""

    def __init__(self, listed: Collection[str]) -> None:
        self._listed = frozenset(listed)
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises `AddressRefused`, and `OSError` where the name is not found."""
        found = await self._resolver.resolve(host, port, family)
        allowed = found if host.lower() in self._listed else [item for item in found if is_public(item["host"])]
        if found and not allowed:
            raise AddressRefused(
                f"{host} leads to {found[0]['host']}, a private address. Name the host in ROO_WEBHOOK_HOSTS to allow it"
            )
        return allowed

    async def close(self) -> None:
        """See `AbstractResolver`."""
        await self._resolver.close()
