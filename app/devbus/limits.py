"""Sizes and times that a broker announces to its clients."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The defaults are those of Service Bus's standard tier."""

    max_message_size: int = 256 * 1024
    """Octets of a whole message; the premium tier takes up to 100 MB."""
    max_frame_size: int = 64 * 1024
    """Octets of a frame; larger messages travel in several."""
    channel_max: int = 4999
    idle_timeout: float | None = 240.0
    """Seconds of silence after which a client should be heard; after twice as long it is cut off."""
    container_id: str = "devbus"
