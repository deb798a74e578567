"""Scan a model repository: which models and versions are there, and are their files what their manifests say."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import InvalidManifest, StartupError
from app.repository import pipeline, stamps, traffic_file
from app.repository.manifest import FILE_NAME, Manifest, read_labels, read_manifest
from app.repository.pipeline import ChainEntry
from app.repository.stamps import Stamp

if TYPE_CHECKING:
    from app.repository.signatures import Trust  # only those who ask for signatures wait for its import

MODEL_FILES = ("model.onnx", "model.pt2", "model.pt")
"""What a version's folder may hold; the first that is there, where the manifest names no engine."""
INT8_FILE = "model.int8.onnx"
"""Beside `model.onnx`: the same network, quantized. Other precisions are computed from the model's one file."""

EXAMPLES = "examples"
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model on disk. `versions` maps the versions to be served to their model files, oldest first, `stamps` to what
    their files were before any was read.
    """

    name: str
    manifest: Manifest
    labels: tuple[str, ...]
    versions: dict[str, Path]
    stamps: dict[str, Stamp]
    signed_by: str | None = None
    """What the key is called whose signature was checked."""

    def like(self, other: "ModelEntry") -> bool:
        """Whether a version whose files are the same is served alike by both."""
        return self.labels == other.labels and self.manifest.serving() == other.manifest.serving()

    def only(self, versions: Iterable[str]) -> "ModelEntry":
        """The model as if these were all of its versions."""
        return replace(self, versions={version: self.versions[version] for version in versions})


@dataclass(frozen=True, slots=True)
class Survey:
    """What a repository holds: models and chains that are as they should be, and by name what is wrong with others.
    Whether a chain fits its models is not looked at.
    """

    entries: list[ModelEntry]
    failures: dict[str, InvalidManifest]
    chains: list[ChainEntry] = field(default_factory=list)


def scan(root: Path, only: str | None = None) -> list[ModelEntry]:
    """`survey` for those who want all models: raises `InvalidManifest` where one is not as it should be."""
    found = survey(root, only)
    for error in found.failures.values():
        raise error
    return found.entries


def survey(root: Path, only: str | None = None, trust: "Trust | None" = None) -> Survey:
    """Read every model and chain of the repository at `root`, sorted by name; a folder without a `model.yaml` or
    `pipeline.yaml` is passed over, but a failure where it holds what looks like a model.

    With `only`, `root` is one model's own folder, and that the name it is served by; with `trust`, a model that none of
    its keys has signed is a failure. Raises `StartupError` where `root` is no folder or has no model.
    """
    if not root.is_dir():
        raise StartupError(f"The model repository {root.absolute()} is not a folder. Set ROO_MODELS_DIR to one.")
    if only is not None:
        if is_chain(root):
            raise StartupError(
                f"ROO_MODEL_NAME={only} names the one model of ROO_MODELS_DIR, but {root.absolute()} holds a chain, "
                "which asks other models. Set ROO_MODELS_DIR to the folder that all of them lie in, and leave "
                "ROO_MODEL_NAME out."
            )
        if not (root / FILE_NAME).is_file():
            raise StartupError(
                f"ROO_MODEL_NAME={only} names the one model of ROO_MODELS_DIR, but {root.absolute()} has no "
                f"{FILE_NAME}. Set ROO_MODELS_DIR to a model's own folder, or leave ROO_MODEL_NAME out."
            )
        return Survey([read_entry(root, trust, name=only)], {})
    found = Survey([], {})
    for folder in sorted(root.iterdir()):
        if is_described(folder):
            try:
                if is_chain(folder):
                    found.chains.append(read_chain(folder, trust))
                else:
                    found.entries.append(read_entry(folder, trust))
            except InvalidManifest as error:
                found.failures[folder.name] = error
        elif (graph := unlisted_model(folder)) is not None:
            found.failures[folder.name] = graph
    if not found.entries and (root / FILE_NAME).is_file():
        name = root.resolve().name
        raise StartupError(
            f"{root.absolute()} is one model's own folder. Set ROO_MODELS_DIR to the folder that it lies in "
            f"({root.resolve().parent}), or ROO_MODEL_NAME={name} to serve this one alone."
        )
    if not (found.entries or found.failures or found.chains):
        raise StartupError(
            f"The model repository {root.absolute()} has no models: none of its folders has a {FILE_NAME}. "
            "Put one in (docs/models.md), or set ROO_MODELS_DIR to another folder."
        )
    return found


def is_chain(folder: Path) -> bool:
    """Whether it is a chain's folder."""
    return (folder / pipeline.FILE_NAME).is_file()


def is_described(folder: Path) -> bool:
    """Whether it is the folder of a model, or of a chain."""
    return (folder / FILE_NAME).is_file() or is_chain(folder)


def unlisted_model(folder: Path) -> InvalidManifest | None:
    """What to say of a folder that holds a model's file, as it is or in a version's folder, and no `model.yaml`."""
    if folder.name.startswith(".") or not folder.is_dir() or (folder / FILE_NAME).exists():
        return None
    files = (*folder.glob("*.onnx"), *(file for name in MODEL_FILES for file in folder.glob(f"*/{name}")))
    if not files:
        return None
    file = min(files)
    cure = f"`roo-vision models add {file} --name NAME` writes one" if file.suffix == ".onnx" else "Write one"
    return InvalidManifest(
        f"{folder}: holds {file.relative_to(folder)} but no {FILE_NAME}, so it is not served. {cure} (docs/models.md); "
        "or move the folder out of the repository."
    )


def read_model(root: Path, name: str, trust: "Trust | None" = None) -> ModelEntry:
    """Read one model of the repository at `root` and none of the others; raises as `model_folder` does, and
    `InvalidManifest` where it is not as it should be.
    """
    return read_entry(model_folder(root, name), trust)


def model_folder(root: Path, name: str) -> Path:
    """The folder of one model of the repository at `root`; raises `StartupError` where there is none of that name."""
    folder = described_folder(root, name)
    if is_chain(folder):
        raise StartupError(f"{name} is a chain, not a model: {folder / pipeline.FILE_NAME} says which models it asks.")
    return folder


def described_folder(root: Path, name: str) -> Path:
    """The folder of a model or a chain of the repository at `root`; raises `StartupError` where there is none of that
    name.
    """
    folder = root / name
    if "/" in name or name in ("", ".", "..") or not is_described(folder):
        there = sorted(path.name for path in root.iterdir() if is_described(path)) if root.is_dir() else []
        raise StartupError(f"There is no model {name!r} in {root}; there are: {', '.join(there) or 'none'}.")
    return folder


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_entry(
    folder: Path, trust: "Trust | None" = None, *, name: str | None = None, digest: Callable[[Path], str] = sha256
) -> ModelEntry:
    """Read one model's folder and check its files, by what `digest` says of each; with `trust` its signature before
    anything else. `name` is what the model is called, where it is not as its folder. Raises `InvalidManifest`.
    """
    called = name or folder.name
    key = None if trust is None else trust.check(folder, called, digest)
    entry = replace(described_entry(folder), name=called, signed_by=key)
    manifest = entry.manifest
    for version, path in entry.versions.items():
        _check_precisions(folder, path, manifest)
        _check_digests(folder, path, manifest.sha256.get(version), digest)
    return entry


def check_folder(folder: Path, trust: "Trust | None" = None, *, digest: Callable[[Path], str] = sha256) -> None:
    """Raises `InvalidManifest` where a model's or a chain's folder is not as it should be; see `read_entry`."""
    if is_chain(folder):
        read_chain(folder, trust, digest=digest)
    else:
        read_entry(folder, trust, digest=digest)


def read_chain(folder: Path, trust: "Trust | None" = None, *, digest: Callable[[Path], str] = sha256) -> ChainEntry:
    """Read one chain's folder, with `trust` its signature before anything else. Raises `InvalidManifest`, also where
    the folder describes a model too.
    """
    key = None if trust is None else trust.check(folder, folder.name, digest)
    if (folder / FILE_NAME).is_file():
        raise InvalidManifest(
            f"{folder}: has a {FILE_NAME} and a {pipeline.FILE_NAME}, and can be only one of a model and a chain. Move "
            "one of the files into a folder of its own."
        )
    return ChainEntry(folder.name, folder, pipeline.read_pipeline(folder / pipeline.FILE_NAME), key)


def described_entry(folder: Path) -> ModelEntry:
    """One model's folder as its manifest describes it, its digests and files for precisions not looked at; raises
    `InvalidManifest`.
    """
    manifest = traffic_file.with_traffic(read_manifest(folder / FILE_NAME), folder)
    versions = _versions(folder, manifest)
    try:
        manifest.route.check(versions)
    except ValueError as error:
        said = traffic_file.FILE_NAME if (folder / traffic_file.FILE_NAME).is_file() else FILE_NAME
        raise InvalidManifest(f"{folder / said}: {error}.") from None
    stamped = {version: stamps.of_version(path.parent) for version, path in versions.items()}
    return ModelEntry(folder.name, manifest, read_labels(manifest, folder), versions, stamped)


def model_file(folder: Path, engine: str) -> Path | None:
    """The file in a version's folder that this engine reads, `auto` being any; None where there is none."""
    names = {"auto": MODEL_FILES, "torch": MODEL_FILES[1:]}.get(engine, MODEL_FILES[:1])
    return next((folder / name for name in names if (folder / name).is_file()), None)


def precision_file(path: Path, precision: str) -> Path:
    """The file, beside a version's model file, that is read to compute in this precision; it need not be there."""
    return path.with_name(INT8_FILE) if precision == "int8" else path


def example_pictures(path: Path) -> list[Path]:
    """The pictures that ship with the model to which this version's model file belongs, in its folder `examples`."""
    return folder_examples(path.parent.parent)


def folder_examples(folder: Path) -> list[Path]:
    """The pictures in the folder `examples` of a model's folder, by name."""
    examples = folder / EXAMPLES
    found = examples.iterdir() if examples.is_dir() else ()
    return sorted(file for file in found if file.suffix.lower() in PICTURE_SUFFIXES)


def _check_precisions(folder: Path, path: Path, manifest: Manifest) -> None:
    """A precision that has a file of its own must have it in every version that is served."""
    file = precision_file(path, "int8")
    if "int8" in manifest.precisions and not file.is_file():
        raise InvalidManifest(
            f"{folder / FILE_NAME}: precisions lists int8, and {file} is not there. Make it with `roo-vision models "
            f"quantize {folder.name} --data PICTURES`, or remove int8 from the list."
        )


def _versions(folder: Path, manifest: Manifest) -> dict[str, Path]:
    numbered = [path for path in folder.iterdir() if path.name.isdecimal() and not path.name.startswith("0")]
    files = {path.name: model_file(path, manifest.engine) for path in sorted(numbered, key=lambda path: int(path.name))}
    found = {version: path for version, path in files.items() if path is not None}
    if not found:
        name = MODEL_FILES[1] if manifest.engine == "torch" else MODEL_FILES[0]
        raise InvalidManifest(f"{folder}: has no version; put the model at {folder / '1' / name}.")
    if manifest.versions == "latest":
        newest = list(found)[-1]
        return {newest: found[newest]}
    missing = [version for version in manifest.versions if version not in found]
    if missing:
        raise InvalidManifest(
            f"{folder / FILE_NAME}: versions: {', '.join(missing)} not found; there are {', '.join(found)}."
        )
    return {version: path for version, path in found.items() if version in manifest.versions}


def _check_digests(
    folder: Path, path: Path, wanted: str | dict[str, str] | None, digest: Callable[[Path], str]
) -> None:
    """Every file with a digest must have it, weights beside a graph too; one digest alone is that of the file that is
    served.
    """
    named = {path.name: wanted} if isinstance(wanted, str) else wanted or {}
    for name, said in named.items():
        _check_digest(folder, path.parent / name, said, digest)


def _check_digest(folder: Path, path: Path, wanted: str, digest: Callable[[Path], str]) -> None:
    place = f"{folder / FILE_NAME}: sha256"
    if ".." in path.parts or not path.is_file():
        raise InvalidManifest(f"{place}: {path} is not a file of that version that is there.")
    found = digest(path)
    if found != wanted:
        raise InvalidManifest(
            f"{place}: {path} has the digest {found}, not {wanted}. Restore the file, or "
            "correct the manifest if the change was meant."
        )
