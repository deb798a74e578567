"""`roo-vision models export`: a torchvision model to a ready entry of a model repository."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from app.commands import entries
from app.errors import StartupError

Format = Literal["onnx", "pt2", "both"]
SOURCE = "torchvision:"

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
        step = progress.add_task("loading torch", total=2 + 2 * len(formats))
        from app.commands import programs, zoo  # torch, for seconds: after all that can be refused without it

        progress.update(step, description=f"building {model} and reading its weights")
        plan = programs.plan(zoo.open_model(model, asked.weights), labels)
        if refused := [kind for kind in formats if kind not in plan.formats]:
            raise StartupError(
                f"--format {asked.format}: {model} cannot be written as model.{refused[0]}, only as "
                f"model.{plan.formats[0]}: torch.export does not take a suppression whose count varies."
            )
        progress.advance(step)
        dynamic = []
        for kind in formats:
            progress.update(step, description=f"exporting model.{kind}")
            dynamic.append(programs.write(plan, folder / entries.VERSION / f"model.{kind}"))
            progress.advance(step)
        entries.write_manifest(folder, plan.manifest, plan.labels)
        for kind in formats:
            progress.update(step, description=f"comparing model.{kind} with torchvision")
            with entries.loaded(folder, programs.ENGINES[kind]) as served:
                programs.compare(plan, served.engine)
            progress.advance(step)
        progress.advance(step)
    _report(asked, formats, dynamic)


def _report(asked: Export, formats: tuple[str, ...], dynamic: list[bool]) -> None:
    folder = asked.out / (asked.name or asked.model)
    for kind, any_batch in zip(formats, dynamic, strict=True):
        batch = "any batch" if any_batch else "one picture at a time"
        console.print(f"{folder}/1/model.{kind}: equals torchvision's ({batch})", highlight=False, soft_wrap=True)
    console.print(f"Serve it with ROO_MODELS_DIR={asked.out} roo-vision serve", highlight=False, soft_wrap=True)
