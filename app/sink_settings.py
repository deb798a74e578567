"""The settings of the sinks: where answers to messages are kept beside the results queue."""

import base64
import binascii
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from app.host.loopback import is_loopback
from app.setting_types import Names


class SinkSettings(BaseSettings):
    """Cosmos DB and a webhook; each, both or none."""

    cosmos_endpoint: str | None = Field(
        None, description="Endpoint of a Cosmos DB account (`https://NAME.documents.azure.com`) that results go to."
    )
    cosmos_database: str | None = Field(None, min_length=1, description="Database of that account.")
    cosmos_container: str | None = Field(None, min_length=1, description="Container in that database.")
    cosmos_key: SecretStr | None = Field(
        None, description="Key of that account; empty means that it is entered with the Azure identity."
    )
    webhook_url: SecretStr | None = Field(
        None, description="URL (https) that every result is posted to; may hold a token, so it is kept as a secret."
    )
    webhook_secret: SecretStr | None = Field(
        None, description="Secret that posted results are signed with; at least 16 characters."
    )
    webhook_secret_file: Path | None = Field(
        None, description="File of such secrets, one a line, each of which signs; instead of `ROO_WEBHOOK_SECRET`."
    )
    webhook_hosts: Names = Field(
        (),
        description="Hosts that `ROO_WEBHOOK_URL` may name, with commas, private addresses included; empty means any "
        "with public addresses.",
    )

    @property
    def has_sinks(self) -> bool:
        """Whether results are kept anywhere beside the results queue."""
        return self.cosmos_endpoint is not None or self.webhook_url is not None

    @model_validator(mode="after")
    def _check_cosmos(self) -> Self:
        place = (self.cosmos_endpoint, self.cosmos_database, self.cosmos_container)
        if any(place) and not all(place):
            raise ValueError("ROO_COSMOS_ENDPOINT, ROO_COSMOS_DATABASE and ROO_COSMOS_CONTAINER go together: set all")
        if self.cosmos_endpoint is None:
            if self.cosmos_key is not None:
                raise ValueError("ROO_COSMOS_KEY is set, but there is no ROO_COSMOS_ENDPOINT")
            return self
        if wrong := _wrong_with(self.cosmos_endpoint):
            raise ValueError(f"ROO_COSMOS_ENDPOINT {wrong}")
        url = urlsplit(self.cosmos_endpoint)
        if url.path not in ("", "/") or url.query:
            raise ValueError("ROO_COSMOS_ENDPOINT is the account's address alone: https://NAME.documents.azure.com")
        for name in (self.cosmos_database, self.cosmos_container):
            if name is None or set(name) & set("/\\?#") or name != name.strip():
                raise ValueError(
                    "ROO_COSMOS_DATABASE or ROO_COSMOS_CONTAINER is no name: neither may hold / \\ ? # nor begin or "
                    "end with spaces"
                )
        if self.cosmos_key is None and url.scheme == "http":
            raise ValueError("ROO_COSMOS_ENDPOINT is http, over which no token is sent: set ROO_COSMOS_KEY, or https")
        if self.cosmos_key is not None and not _is_base64(self.cosmos_key.get_secret_value()):
            raise ValueError("ROO_COSMOS_KEY is not the key of a Cosmos DB account, which is in base64")
        return self

    @model_validator(mode="after")
    def _check_webhook(self) -> Self:
        secrets = (self.webhook_secret is not None) + (self.webhook_secret_file is not None)
        if self.webhook_url is None:
            if secrets or self.webhook_hosts:
                raise ValueError(
                    "ROO_WEBHOOK_SECRET, ROO_WEBHOOK_SECRET_FILE or ROO_WEBHOOK_HOSTS is set, but there is no "
                    "ROO_WEBHOOK_URL"
                )
            return self
        if wrong := _wrong_with(self.webhook_url.get_secret_value()):
            raise ValueError(f"ROO_WEBHOOK_URL {wrong}")
        host = str(urlsplit(self.webhook_url.get_secret_value()).hostname)
        if secrets != 1:
            raise ValueError("ROO_WEBHOOK_URL needs either ROO_WEBHOOK_SECRET or ROO_WEBHOOK_SECRET_FILE to sign with")
        if self.webhook_hosts and host not in {name.lower() for name in self.webhook_hosts}:
            raise ValueError(f"ROO_WEBHOOK_URL leads to {host[:200]!r}, which is none of ROO_WEBHOOK_HOSTS")
        return self


def _wrong_with(text: str) -> str:
    """Why it is no URL that leads to one host over https, empty where it is; quotes nothing, it may hold a secret."""
    try:
        url = urlsplit(text)
        _ = url.port  # reading it checks it
    except ValueError:
        return "is not a URL"
    if not url.hostname or url.fragment or "@" in url.netloc or not text.isascii() or any(map(str.isspace, text)):
        return "is not the URL of a host, without user, fragment and spaces"
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname)):
        return "must begin with https://; http:// is for a stand-in on this machine"
    return ""


def _is_base64(key: str) -> bool:
    try:
        return bool(base64.b64decode(key, validate=True))
    except binascii.Error:
        return False
