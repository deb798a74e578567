"""The client for Python: pictures in, typed answers out; see docs/client.md."""

from app.client.asking import Limits
from app.client.asynchronous import AsyncClient
from app.client.blocking import Client
from app.client.errors import Refused, ServiceError, Unreachable
from app.client.pictures import Picture
from app.errors import InvalidRequest
from app.wire.models import ModelChange, ModelInfo
from app.wire.prediction import Prediction
from app.wire.releases import RolloutState

__all__ = [
    "AsyncClient",
    "Client",
    "InvalidRequest",
    "Limits",
    "ModelChange",
    "ModelInfo",
    "Picture",
    "Prediction",
    "Refused",
    "RolloutState",
    "ServiceError",
    "Unreachable",
]
