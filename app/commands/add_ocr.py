"""`roo-vision models add-ocr`: the three models of PP-OCR as entries of a repository, and the chain that they make."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from app.commands.entries import VERSION, copy_graph, loaded, new_entry, write_manifest
from app.commands.ocr_package import OcrFiles, opened
from app.errors import StartupError
from app.repository import pipeline

console = Console()

_PIXELS = {"channels": "bgr", "mean": 0.5, "std": 0.5, "reduce": "none"}
"""What all three of PP-OCR's graphs take: -1 to 1, blue first."""
_MOST_LINES = 200
"""Of one picture, that the chain asks about."""
_MIDDLE_GREY = 127.5  # 0 after that, which PP-OCR fills up with


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    graph: Path
    manifest: Mapping[str, Any]
    labels: tuple[str, ...]


def run(package: Path | None, out: Path, prefix: str) -> None:
    """Write the entries and load each as serving would; raises `StartupError` where one cannot be, and writes none."""
    with opened(package) as files, ExitStack() as entries:
        for entry in _entries(files, prefix):
            folder = entries.enter_context(new_entry(out, entry.name, entry.graph))
            copy_graph(entry.graph, folder / VERSION / "model.onnx")
            for license_file in files.licenses:
                shutil.copyfile(license_file, folder / license_file.name)
            write_manifest(folder, entry.manifest, entry.labels)
            with loaded(folder):
                console.print(f"{entry.name}: {entry.manifest['description']}", soft_wrap=True, highlight=False)
        write_chain(out / prefix, prefix, files.origin)
        console.print(f"{prefix}: the chain of the three; ask it by this name", soft_wrap=True, highlight=False)


def write_chain(folder: Path, prefix: str, origin: str) -> None:
    """The chain: lines, which way up each is, and what it says; by the limits of RapidOCR's config.yaml.

    Raises `StartupError` where there is something of that name.
    """
    if folder.exists():
        raise StartupError(f"{folder} is there already. Choose another --name, or remove it.")
    steps = {
        "find": {"model": f"{prefix}-detection"},
        "orientation": {"model": f"{prefix}-orientation", "on": "find", "crop": "quad", "max_crops": _MOST_LINES},
        "read": {
            "model": f"{prefix}-recognition",
            "on": "orientation",
            "turn": {"180": 180},
            "turn_min_score": 0.9,
            "max_crops": _MOST_LINES,
        },
    }
    text = yaml.safe_dump(
        {"description": f"Lines of text and what they say (PP-OCR), from {origin}.", "steps": steps}, sort_keys=False
    )
    folder.mkdir(parents=True)
    (folder / pipeline.FILE_NAME).write_text(text, "utf-8")


def _entries(files: OcrFiles, prefix: str) -> list[_Entry]:
    return [
        _Entry(f"{prefix}-detection", files.detector, _detection(files.origin), ()),
        _Entry(f"{prefix}-orientation", files.orientation, _orientation(files.origin), ("0", "180")),
        _Entry(f"{prefix}-recognition", files.recognizer, _recognition(files.origin), files.dictionary),
    ]


def _detection(origin: str) -> dict[str, Any]:
    """As RapidOCR's config.yaml has it: the longer side at most 2000, the shorter one then at least 736."""
    varying = {"multiple_of": 32, "least": 736, "most": 2000}
    return {
        "task": "text_detection",
        "description": f"Where lines of text are (PP-OCR), from {origin}.",
        "input": {"size": [2944, 2944], "resize": "stretch", "varying": varying, **_PIXELS},
        "text_detection": {"threshold": 0.3, "score_threshold": 0.5, "unclip_ratio": 1.6, "dilation": True},
        "batching": {"max_size": 1},
    }


def _orientation(origin: str) -> dict[str, Any]:
    return {
        "task": "classification",
        "description": f"Whether a line of text is upside down (PP-OCR), from {origin}.",
        "input": {"size": [192, 48], "resize": "fit_height", "pad": _MIDDLE_GREY, **_PIXELS},
        "classification": {"softmax": False},
        "batching": {"max_size": 16},
    }


def _recognition(origin: str) -> dict[str, Any]:
    return {
        "task": "text_recognition",
        "description": f"What a line of text says (PP-OCR), from {origin}.",
        "input": {
            "size": [3200, 48],
            "resize": "fit_height",
            "pad": _MIDDLE_GREY,
            "varying": {"multiple_of": 32, "least": 320},
            **_PIXELS,
        },
        "text_recognition": {"blank": "first", "space": True},
        "batching": {"max_size": 16},
    }
