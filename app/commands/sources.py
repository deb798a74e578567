"""Which pictures a command line names, and what each is called where something is written about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.errors import StartupError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
UNREAD = {".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".ppm", ".tif", ".tiff"}
"""Suffixes of pictures in formats that are not read."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Source:
    """A picture's path; its path below the folder that was named, with slashes; and that without its suffix, made
    unique among all where several have the same.
    """

    path: Path
    file_name: str
    name: str


def find_pictures(paths: list[Path]) -> list[Path]:
    """The files named, and the pictures inside the folders named; raises `StartupError` where there are none."""
    return [source.path for source in find_sources(paths)]


def left_out(paths: list[Path]) -> str | None:
    """What to say of pictures in the folders named that are of other formats, None where there are none."""
    found = [
        file for path in paths if path.is_dir() for file in sorted(path.rglob("*")) if file.suffix.lower() in UNREAD
    ]
    if not found:
        return None
    names = ", ".join(str(file) for file in found[:_NAMED]) + (" …" if found[_NAMED:] else "")
    count = f"{len(found)} picture{'s' * (len(found) > 1)}"
    return f"{count} left out, not of a format that is read ({', '.join(sorted(SUFFIXES))}): {names}"


def find_sources(paths: list[Path], out: Path | None = None) -> list[Source]:
    """As `find_pictures`, with their names. What was written to `out`, a folder in one that is named, is left aside."""
    found = [pair for path in paths for pair in _below(path, out)]
    if not found:
        others = left_out(paths)
        more = f" {others}." if others else ""
        raise StartupError(f"No pictures ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, paths))}.{more}")
    taken: set[str] = set()
    return [Source(path, relative.as_posix(), _unique(relative, taken)) for path, relative in found]


def _below(path: Path, out: Path | None) -> Iterator[tuple[Path, Path]]:
    if not path.is_dir():
        yield path, Path(path.name)
        return
    aside = None if out is None else out.resolve()
    inside = aside is not None and path.resolve() in aside.parents
    for picture in sorted(path.rglob("*")):
        if picture.suffix.lower() not in SUFFIXES or not picture.is_file():
            continue
        if not (inside and aside in picture.resolve().parents):
            yield picture, picture.relative_to(path)


def _unique(relative: Path, taken: set[str]) -> str:
    """The name without its suffix, with it where that is taken, and numbered where both are. Upper and lower case are
    the same to some file systems.
    """
    plain, whole = relative.with_suffix("").as_posix(), relative.as_posix()
    number = 1
    for name in (plain, whole):
        if name.casefold() not in taken:
            break
    else:
        while (name := f"{whole}-{number}").casefold() in taken:
            number += 1
    taken.add(name.casefold())
    return name
