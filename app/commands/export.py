"""`roo-vision models export`: a torchvision model to a ready entry of a model repository."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from app.commands import entries
from app.errors import StartupError

Format = Literal["onnx", "pt2", "both"]
SOURCE = "torchvision:"
ENOUGH = 20
"""Fewer detections to compare say little about a detector."""

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Export:
    """What the command line asks for. `weights` is DEFAULT or a file, `labels` a file or names with commas."""

    source: str
    weights: str
    out: Path
    format: Format
    labels: str | None
    name: str | None

    @property
    def model(self) -> str:
        """torchvision's name of the model; raises `StartupError` where another source is named."""
        if not self.source.startswith(SOURCE):
            raise StartupError(f"{self.source}: cannot be exported from; give {SOURCE}NAME, such as {SOURCE}resnet18.")
        return self.source.removeprefix(SOURCE)


def run(asked: Export) -> None:
    """Write the entry; nothing stays where anything fails.

    Raises `StartupError` saying what was wrong, `EngineUnavailable` where torch or torchvision is not installed.
    """
    model = asked.model
    labels = None if asked.labels is None else entries.read_labels(asked.labels)
    formats: tuple[Literal["onnx", "pt2"], ...] = ("onnx", "pt2") if asked.format == "both" else (asked.format,)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        entries.new_entry(asked.out, asked.name or model) as folder,
    ):
        step = progress.add_task("loading torch", total=3 + 2 * len(formats))
        from app.commands import (  # torch, for seconds: after all that needs it not
            comparison,
            export_specs,
            programs,
            zoo,
        )

        progress.update(step, description=f"building {model} and reading its weights")
        spec = export_specs.spec_of(zoo.open_model(model, asked.weights), labels)
        if refused := [kind for kind in formats if kind not in spec.formats]:
            raise StartupError(
                f"--format {asked.format}: {model} cannot be written as model.{refused[0]}, only as "
                f"model.{spec.formats[0]}: torch.export does not take a suppression whose count varies."
            )
        progress.advance(step)
        progress.update(step, description="asking torchvision's model")
        reference = comparison.Reference.of(spec)
        progress.advance(step)
        any_batch = {}
        for kind in formats:
            progress.update(step, description=f"exporting model.{kind}")
            any_batch[kind] = programs.write(reference, folder / entries.VERSION / f"model.{kind}")
            progress.advance(step)
        entries.write_manifest(folder, spec.manifest, spec.labels)
        for kind in formats:
            progress.update(step, description=f"comparing model.{kind} with torchvision")
            with entries.loaded(folder, programs.ENGINES[kind]) as served:
                comparison.compare(reference, served.engine)
            progress.advance(step)
        found = None
        if spec.manifest["task"] == "detection":
            found = reference.detections
            if found < ENOUGH:
                progress.update(step, description="comparing what scores lower")
                found = programs.probe(spec, folder.parent / "probe.onnx", ENOUGH)
        progress.advance(step)
    console.print(spec.manifest["description"], markup=False, highlight=False, soft_wrap=True)
    _report(asked, any_batch, found)


def _report(asked: Export, any_batch: Mapping[Literal["onnx", "pt2"], bool], detections: int | None) -> None:
    folder = asked.out / (asked.name or asked.model)
    compared = "" if detections is None else f", by {detections} detections"
    for kind, dynamic in any_batch.items():
        batch = "any batch" if dynamic else "one picture at a time"
        text = f"{folder}/1/model.{kind}: equals torchvision's{compared} ({batch})"
        console.print(text, highlight=False, soft_wrap=True)
    if detections is not None and detections < ENOUGH:
        console.print(
            "That is little to go by: torchvision's model finds hardly anything in the pictures drawn for it. "
            "Try both on pictures of yours.",
            style="yellow",
            soft_wrap=True,
        )
    console.print(f"Serve it with ROO_MODELS_DIR={asked.out} roo-vision serve", highlight=False, soft_wrap=True)
