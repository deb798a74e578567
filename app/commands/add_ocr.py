"""`roo-vision models add-ocr`: the three models of PP-OCR as entries of a repository, and the chain that they make."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from app.commands.entries import VERSION, copy_graph, loaded, new_entry, write_manifest
from app.commands.ocr_package import OcrFiles, opened

console = Console()

_PIXELS = {"channels": "bgr", "mean": 0.5, "std": 0.5, "reduce": "none"}
"""What all three of PP-OCR's graphs take: -1 to 1, blue first."""
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


def _entries(files: OcrFiles, prefix: str) -> list[_Entry]:
    return [
        _Entry(f"{prefix}-detection", files.detector, _detection(files.origin), ()),
        _Entry(f"{prefix}-orientation", files.orientation, _orientation(files.origin), ("0", "180")),
        _Entry(f"{prefix}-recognition", files.recognizer, _recognition(files.origin), files.dictionary),
    ]


def _detection(origin: str) -> dict[str, Any]:
    """As RapidOCR's config.yaml has it: sides as they are, but the shorter one at least 736."""
    return {
        "task": "text_detection",
        "description": f"Where lines of text are (PP-OCR), from {origin}.",
        "input": {"size": [1984, 1984], "resize": "stretch", "varying": {"multiple_of": 32, "least": 736}, **_PIXELS},
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
