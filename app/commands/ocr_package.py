"""The models of text that a package carries: PP-OCR's graphs, as `rapidocr` ships them."""

import importlib.metadata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.engines import onnx, onnx_file
from app.errors import StartupError

PACKAGE = "rapidocr"
_CHARACTERS = "character"
"""Under which PaddlePaddle's exporter leaves the dictionary in the graph's metadata."""
_LICENSES = ("LICENSE", "MODEL_LICENSES.md")


@dataclass(frozen=True, slots=True)
class OcrFiles:
    """What was found: three graphs, the recogniser's characters, licences, and in words where all that is from."""

    detector: Path
    orientation: Path
    recognizer: Path
    dictionary: tuple[str, ...]
    licenses: tuple[Path, ...]
    origin: str


@contextmanager
def opened(source: Path | None) -> Iterator[OcrFiles]:
    """The files of a package: a wheel, a folder with the graphs in it or, where it is None, the installed `rapidocr`.

    Raises `StartupError` where there are none, or not one of each kind, and `InvalidManifest` for a damaged graph.
    """
    if source is None:
        files, origin = _installed()
        yield _sorted_out(files, origin)
    elif source.is_dir():
        yield _sorted_out([path for path in sorted(source.rglob("*")) if path.is_file()], f"files of {source.name}")
    else:
        with TemporaryDirectory(prefix="roo-ocr-") as folder:
            yield _sorted_out(_unpacked(source, Path(folder)), f"the package {source.name}")


def _installed() -> tuple[list[Path], str]:
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise StartupError(
            f"The package {PACKAGE} is not installed. It need not be: fetch its wheel alone with `pip download "
            f"--no-deps {PACKAGE}`, and give the file with --package."
        ) from None
    files = [Path(str(package.locate_file(file))) for file in package.files or ()]
    return files, f"the package {PACKAGE} {package.version}"


def _unpacked(wheel: Path, folder: Path) -> list[Path]:
    """Only what is wanted; names in an archive may lead anywhere, so files are numbered."""
    found = []
    try:
        with zipfile.ZipFile(wheel) as archive:
            wanted = [name for name in archive.namelist() if _is_wanted(Path(name))]
            for number, name in enumerate(wanted):
                target = folder / str(number) / Path(name).name
                target.parent.mkdir()
                target.write_bytes(archive.read(name))
                found.append(target)
    except (OSError, zipfile.BadZipFile) as error:
        raise StartupError(f"--package {wheel}: is no wheel that can be read: {error}.") from error
    return found


def _is_wanted(path: Path) -> bool:
    return path.suffix == ".onnx" or path.name in _LICENSES


def _sorted_out(files: list[Path], origin: str) -> OcrFiles:
    found: dict[str, list[Path]] = {"detector": [], "orientation": [], "recognizer": []}
    for path in files:
        if path.suffix == ".onnx":
            found[_kind(path)].append(path)
    for kind, paths in found.items():
        if len(paths) != 1:
            names = ", ".join(path.name for path in paths) or "none"
            raise StartupError(
                f"--package: {origin} should have one {kind} of text among its ONNX files, but has {names}. "
                "Put the three that belong together into a folder of their own and give it with --package."
            )
    recognizer = found["recognizer"][0]
    return OcrFiles(
        detector=found["detector"][0],
        orientation=found["orientation"][0],
        recognizer=recognizer,
        dictionary=tuple(onnx_file.read(recognizer).metadata[_CHARACTERS].splitlines()),
        licenses=tuple(path for path in files if path.name in _LICENSES),
        origin=origin,
    )


def _kind(path: Path) -> str:
    """By what the graph gives: characters, which it names, classes, or a map."""
    if _CHARACTERS in onnx_file.read(path).metadata:
        return "recognizer"
    _, outputs = onnx.signature(path)
    return "orientation" if len(outputs[0].shape) == 2 else "detector"
