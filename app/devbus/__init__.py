"""Service Bus on a laptop: an in-memory broker that the Azure SDK talks to over AMQP 1.0. For development only."""

from app.devbus.broker import Broker
from app.devbus.entity import Depths, Queue
from app.devbus.entry import Entry
from app.devbus.faults import Faults
from app.devbus.limits import Limits
from app.devbus.options import QueueOptions
from app.devbus.tokens import Token

__all__ = ["Broker", "Depths", "Entry", "Faults", "Limits", "Queue", "QueueOptions", "Token"]
