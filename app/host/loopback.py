"""What is on this machine, and so may be spoken to in clear text. Azure never is."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address, without a port, can only be this machine."""
    if not host:
        return False
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
