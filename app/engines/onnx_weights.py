"""Files beside an ONNX graph that hold its weights: where they must lie, and what is said where they do not.

ONNX Runtime refuses what lies outside the graph's own folder, as a graph from somebody else could name any file.
"""

from pathlib import Path, PurePosixPath

from app.engines import onnx_file
from app.errors import InvalidManifest

_CURE = (
    "onnx.save_model(onnx.load(FILE), NEW_FILE, save_as_external_data=True) in Python writes graph and weights anew, "
    "side by side"
)


def files(path: Path) -> list[Path]:
    """The files with weights of the graph at `path`, each in its folder.

    Raises `InvalidManifest` where one is said to lie outside that folder, is not there, or is too short.
    """
    return [_file(path, location, length) for location, length in onnx_file.read(path).external.items()]


def refuse_outside(path: Path) -> None:
    """Raise `InvalidManifest` as `files` does, or where a symbolic link leads out of the graph's folder."""
    folders = (path.parent.resolve(), path.resolve().parent)
    for file in files(path):
        if not any(file.resolve().is_relative_to(folder) for folder in folders):
            raise InvalidManifest(
                f"{file}: is a symbolic link to {file.resolve()}, out of the folder of {path.name}, whose weights it "
                f"holds. Put the file itself there: cp --remove-destination {file.resolve()} {file}"
            )


def _file(path: Path, location: str, length: int) -> Path:
    place = PurePosixPath(location)
    if place.is_absolute() or ".." in place.parts:
        raise InvalidManifest(
            f"{path}: its weights are said to lie in {location}, outside its own folder, where they are not read. "
            f"{_CURE}."
        )
    file = path.parent / place
    if not file.is_file():
        raise InvalidManifest(
            f"{path}: its weights lie in a file of their own, {location}, which is not there. Put it beside "
            f"{path.name}, under that name."
        )
    if (there := file.stat().st_size) < length:
        raise InvalidManifest(
            f"{file}: has {there} bytes, and {path.name} reads {length} of it: it is cut short, or another model's. "
            "Copy it again."
        )
    return file
