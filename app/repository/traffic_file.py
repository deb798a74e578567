"""`traffic.yaml` beside a manifest: who answers, said apart from what the model is.

It may be a ConfigMap's file, or be changed by who releases, while the manifest is part of what was built. What it says
holds in the place of the manifest's words.
"""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from app.repository.manifest import Manifest, Stage, Version, read_as

FILE_NAME = "traffic.yaml"


class TrafficFile(BaseModel):
    """The fields of a manifest that say which version answers; what is left out stays as it is there."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    traffic: dict[Version, float] = {}
    default_version: Version | None = None
    stages: dict[Stage, Version] = {}
    shadow: dict[Version, float] = {}


def with_traffic(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest as `folder`'s traffic.yaml, if there is one, has it; raises `InvalidManifest` naming what is wrong
    in it.
    """
    path = folder / FILE_NAME
    if not os.path.lexists(path):  # a folder, or a link that leads nowhere, was meant to be one
        return manifest
    said = read_as(path, TrafficFile)
    return manifest.model_copy(update={name: getattr(said, name) for name in said.model_fields_set})
