"""`traffic.yaml` beside a manifest: who answers, said apart from what the model is.

It may be a ConfigMap's file, or be changed by who releases, while the manifest is part of what was built. What it says
holds in the place of the manifest's words.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from app.repository.manifest import Manifest, Stage, Version, read_as

FILE_NAME = "traffic.yaml"
UNREADY_NAME = f".{FILE_NAME}.part"
"""What `write` puts beside it before it takes its place; a writer that was killed leaves it behind."""


class TrafficFile(BaseModel):
    """The fields of a manifest that say which version answers; what is left out stays as it is there."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    traffic: dict[Version, float] = {}
    default_version: Version | None = None
    stages: dict[Stage, Version] = {}
    shadow: dict[Version, float] = {}
    rollout: dict[str, Any] = Field(
        {}, description="How far the roll-out is that writes this file; no replica's affair."
    )


ROLLOUT = "rollout"


def with_traffic(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest as `folder`'s traffic.yaml, if there is one, has it; raises `InvalidManifest` naming what is wrong
    in it.
    """
    path = folder / FILE_NAME
    if not os.path.lexists(path):  # a folder, or a link that leads nowhere, was meant to be one
        return manifest
    said = read(path)
    return manifest.model_copy(update={name: getattr(said, name) for name in said.model_fields_set - {ROLLOUT}})


def read(path: Path) -> TrafficFile:
    """What a file says; raises `InvalidManifest` naming what is wrong in it."""
    return read_as(path, TrafficFile)


def write(path: Path, changes: Mapping[str, Any]) -> None:
    """Change fields of a file in one step, or make it; what it says beside them stays, but comments go.

    Raises `InvalidManifest` where it is none, and `OSError` where it cannot be written.
    """
    path = path.resolve()  # a link stays one
    said = read(path).model_dump(exclude_unset=True) if path.exists() else {}
    unready = path.with_name(f".{path.name}.part")
    unready.write_text(yaml.safe_dump({**said, **changes}, sort_keys=False), "utf-8")
    if path.exists():
        shutil.copymode(path, unready)
    unready.replace(path)
