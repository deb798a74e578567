"""The sinks of the settings."""

from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential

from app.errors import StartupError
from app.settings import Settings
from app.sinks import signing
from app.sinks.base import Sink
from app.sinks.public_addresses import is_private_literal
from app.sinks.webhook import Webhook


def of_settings(settings: Settings, credential: AsyncTokenCredential | None) -> tuple[Sink, ...]:
    """All that are set; connected to nothing yet. `credential` is the Azure identity, where there is one to share.

    Raises `StartupError`.
    """
    sinks: list[Sink] = []
    if settings.cosmos_endpoint is not None:
        sinks.append(_cosmos(settings, credential))
    if settings.webhook_url is not None:
        sinks.append(_webhook(settings, settings.webhook_url.get_secret_value()))
    return tuple(sinks)


def _cosmos(settings: Settings, credential: AsyncTokenCredential | None) -> Sink:
    try:
        from app.sinks.cosmos import CosmosPlace, CosmosSink  # an extra, and a third of a second to import
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("azure.cosmos"):
            raise
        raise StartupError(
            "ROO_COSMOS_ENDPOINT is set, but Cosmos DB's client is not installed: pip install 'roo-vision[cosmos]'."
        ) from None
    place = CosmosPlace(str(settings.cosmos_endpoint), str(settings.cosmos_database), str(settings.cosmos_container))
    return CosmosSink(place, settings.cosmos_key.get_secret_value() if settings.cosmos_key else credential)


def _webhook(settings: Settings, url: str) -> Sink:
    hosts = {name.lower() for name in settings.webhook_hosts}
    host, scheme = str(urlsplit(url).hostname), urlsplit(url).scheme
    if scheme == "http":  # only on this machine
        hosts.add(host)
    if host not in hosts and is_private_literal(host):
        raise StartupError(
            f"ROO_WEBHOOK_URL leads to {host}, a private address. Name it in ROO_WEBHOOK_HOSTS to allow it."
        )
    if settings.webhook_secret_file is not None:
        secrets = signing.read_secrets(settings.webhook_secret_file)
    else:
        assert settings.webhook_secret is not None
        secrets = signing.checked_secrets([settings.webhook_secret.get_secret_value()], "ROO_WEBHOOK_SECRET")
    return Webhook(url, secrets, hosts, settings.result_bytes)
