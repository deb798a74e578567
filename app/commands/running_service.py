"""Asking a service that runs, as every command does that changes it or looks at it."""

from app.client import Client
from app.commands.common import CONNECT_SECONDS
from app.settings import Settings


def client_of(url: str, settings: Settings, timeout: float) -> Client:
    """A client for the service at `url` with the key of the settings; an answer may take so many seconds. Close it
    after use.
    """
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return Client(url, api_key=key, timeout=timeout, connect_timeout=CONNECT_SECONDS)
