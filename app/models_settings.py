"""The settings of where models come from; `app.settings` has the others, and reads them all."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class ModelsSettings(BaseSettings):
    """From where models are pulled."""

    models_bytes: int = Field(2**35, ge=1, description="Most bytes of models that are pulled.")
    trusted_keys: Path | None = Field(
        None, description="File of public keys (PEM); where it is set, only models that one of them signed are served."
    )
