"""The settings of what is served and where it comes from; `app.settings` has the others, and reads them all."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from app.setting_types import VersionShares


class ModelsSettings(BaseSettings):
    """Which models are served, who may change that, from where they are pulled, and whom they are taken from."""

    models_dir: Path = Field(Path("models"), description="Model repository: `<name>/model.yaml`, `<name>/<version>/`.")
    model_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="Name of the one model to serve, where `ROO_MODELS_DIR` is that model's own folder (KServe).",
    )
    strict_repository: bool = Field(
        False, description="Whether one model that cannot be loaded keeps the service from starting with the others."
    )
    default_model: str | None = Field(
        None, description="Model that answers `/v1/predict`; needed only where several models are served."
    )
    traffic: VersionShares = Field(
        {},
        description="Shares of versions in place of the manifests': `MODEL=VERSION:PERCENT,VERSION:PERCENT`, with "
        "semicolons between models.",
    )
    rollout_dir: Path | None = Field(
        None, description="Folder where roll-outs keep how far they are; without one a restart forgets them."
    )
    model_control: Literal["off", "admin", "open"] = Field(
        "admin",
        description="Who may load, reload and unload models at run time: nobody, administrators (keys with the scope "
        "`admin`, tokens with a role of `ROO_ENTRA_ADMIN_ROLES`), or whoever may ask (`open`).",
    )
    load: Literal["all", "on-demand"] = Field(
        "all",
        description="Whether all models are loaded at the start, or only the default one and those that are `pinned`, "
        "and each other one when it is asked for.",
    )
    models_memory: int | None = Field(
        None,
        ge=1,
        description="Memory that loaded models may take together, in bytes; with `ROO_LOAD=on-demand` those that were "
        "not asked for longest go where another needs room. Empty means no bound.",
    )
    repository_poll: float = Field(
        0.0,
        ge=0,
        description="Seconds between two looks at the model repository, whose changes are then loaded; 0 means none.",
    )
    shadow_dir: Path | None = Field(
        None, description="Folder where the pictures are kept about which a model's versions differ most."
    )
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

    @model_validator(mode="after")
    def _models_fit(self) -> Self:
        if self.models_memory is not None and self.load == "all":
            raise ValueError("ROO_MODELS_MEMORY goes with ROO_LOAD=on-demand: what is put away must come back")
        if self.models_source is not None and self.model_name is not None:
            raise ValueError("ROO_MODEL_NAME names a folder's one model, and ROO_MODELS_SOURCE brings many: set one")
        return self
