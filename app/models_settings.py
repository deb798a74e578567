"""The settings of where models come from; `app.settings` has the others, and reads them all."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class ModelsSettings(BaseSettings):
    """From where models are pulled, and whom they are taken from."""

    models_source: SecretStr | None = Field(
        None, description="Place that models are pulled from at the start, to be served instead of `ROO_MODELS_DIR`."
    )
    models_cache: Path | None = Field(
        None, description="Folder for models that are pulled at the start; empty means `~/.cache/roo-vision/models`."
    )
    models_bytes: int = Field(2**35, ge=1, description="Most bytes of models that are pulled.")
    trusted_keys: Path | None = Field(
        None, description="File of public keys (PEM); where it is set, only models that one of them signed are served."
    )
