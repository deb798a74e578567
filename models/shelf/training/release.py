"""A candidate as an entry of the repository that serving pulls from, and as a version of MLflow's registry."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from mlflow.exceptions import MlflowException
from rich.console import Console

from app.repository import yaml_text
from app.repository.manifest import FILE_NAME
from app.repository.repository import ModelEntry, read_entry
from app.repository.sources import files, pushing
from app.repository.sources.addresses import open_target
from models.shelf.training.bring import QUIET
from models.shelf.training.gate import Judged

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CANDIDATE = "champion", "candidate"
_NOT_SERVED = ("training", "docs", "README.md", "weights.pt")
SHADOW = 10.0
"""Percent of the requests that a candidate answers unsent, until a roll-out begins."""


def staged(champion: Path, work: Path, write: Callable[[Path], None]) -> tuple[ModelEntry, str, str]:
    """A copy of the champion's folder in `work`/entry with one version more, whose files `write` puts into its folder.

    Returns the entry, the champion's version and the candidate's. The copy's manifest has the digests; it serves the
    champion as before, and the candidate as its shadow.
    """
    before = read_entry(champion)
    old = before.manifest.default_version or max(before.versions, key=int)
    new = str(max(int(path.name) for path in champion.iterdir() if path.name.isdecimal()) + 1)
    folder = work / "entry" / champion.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(champion, folder, ignore=shutil.ignore_patterns(*_NOT_SERVED))
    (folder / new).mkdir()
    write(folder / new)
    _declare(folder, old, new)
    return read_entry(folder), old, new


def _declare(folder: Path, old: str, new: str) -> None:
    path = folder / FILE_NAME
    manifest: dict[str, Any] = yaml_text.load(path.read_text("utf-8"))
    digests = {file.name: files.digest(file) for file in sorted((folder / new).iterdir())}
    manifest["sha256"] = {**manifest.get("sha256", {}), new: digests}
    if manifest.get("versions", "latest") == "latest":
        manifest["versions"] = [old, new]
    else:
        manifest["versions"] = [*manifest["versions"], new]
    manifest["traffic"] = manifest.get("traffic") or {old: 100}
    manifest["shadow"] = {new: SHADOW}
    path.write_text(yaml.safe_dump(manifest, sort_keys=False, width=120, default_flow_style=None), "utf-8")


def push(entry: Path, address: str) -> None:
    """Brings the entry to where serving pulls from; raises what `pushing.push` raises."""
    with closing(open_target(address)) as target:
        done = pushing.push(entry.parent, target, [entry.name], QUIET)
        Console().print(f"{target.address}: {len(done.written)} files pushed, {len(done.unchanged)} there already")


def register(client: "MlflowClient", run_id: str, entry: Path, version: str, judged: Judged) -> str:
    """Registers the entry as a version of the model in MLflow, with the alias `candidate`; returns MLflow's version.

    The artifacts come first and the alias last: nothing half-written bears it.
    """
    name = entry.name
    (entry / "MLmodel").write_text(_mlmodel(entry, version, run_id))
    try:
        client.log_artifacts(run_id, str(entry), name)
    finally:
        (entry / "MLmodel").unlink()
    for figure, row in judged.rows.items():
        client.log_metric(run_id, "gate/" + figure.replace(" ", "_"), row.candidate)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{name}"
    made = client.create_model_version(name, source, run_id, tags={"version": version, "gate": "passed"})
    client.set_registered_model_alias(name, CANDIDATE, made.version)
    return str(made.version)


def promote(client: "MlflowClient", name: str) -> str:
    """Gives `champion` to what is `candidate`, and keeps what was champion under `previous`; returns its version."""
    candidate = client.get_model_version_by_alias(name, CANDIDATE).version
    aliases = client.get_registered_model(name).aliases
    if CHAMPION in aliases and aliases[CHAMPION] != candidate:
        client.set_registered_model_alias(name, "previous", aliases[CHAMPION])
    client.set_registered_model_alias(name, CHAMPION, candidate)
    return str(candidate)


def go_back(client: "MlflowClient", name: str) -> str:
    """Gives `champion` back to what was it before; returns its version."""
    previous = client.get_model_version_by_alias(name, "previous").version
    client.set_registered_model_alias(name, CHAMPION, previous)
    return str(previous)


def _mlmodel(entry: Path, version: str, run_id: str) -> str:
    """MLflow's description of a model: the graph as its flavour `onnx`, and the signature."""
    from app.engines import onnx

    def told(tensors: Any) -> str:
        shapes = [
            {
                "type": "tensor",
                "name": tensor.name,
                "tensor-spec": {"dtype": str(tensor.dtype), "shape": [side or -1 for side in tensor.shape]},
            }
            for tensor in tensors
        ]
        return json.dumps(shapes)

    inputs, outputs = onnx.signature(entry / version / "model.onnx")
    described = {
        "artifact_path": entry.name,
        "run_id": run_id,
        "flavors": {"onnx": {"data": f"{version}/model.onnx"}},
        "signature": {"inputs": told(inputs), "outputs": told(outputs)},
    }
    return yaml.safe_dump(described, sort_keys=False)
