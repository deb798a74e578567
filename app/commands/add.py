"""`roo-vision models add`: an ONNX file to a ready entry of a model repository."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from app.commands import doubts, drafts, entries, graphs, probing, trial, value_graphs, versions
from app.commands.addition import Addition
from app.commands.detector_graphs import conclude_detector
from app.commands.detector_values import Known
from app.commands.graphs import Conclusion
from app.commands.looks import Looks
from app.commands.trial import Sample
from app.core.model import Model
from app.errors import InvalidManifest, RequestError
from app.repository.manifest import FILE_NAME, describe, read_manifest
from app.vision.image import Size

console = Console()


def run(asked: Addition) -> None:
    """Inspect the graph, write the entry, load it as serving would, answer a picture; no entry stays where anything
    fails, but a draft of its manifest where the graph could not be understood.

    Raises `StartupError` saying what was wrong or ambiguous, `EngineUnavailable` where `dynamic_batch` lacks onnx.
    """
    sample = None if asked.picture is None else trial.read_sample(asked.picture)
    if asked.version is not None:
        with versions.added(asked) as (model, reasons):
            reasons += _tried(asked, model, asked.out / asked.model, sample)
    else:
        with entries.new_entry(asked.out, asked.model, asked.file) as folder:
            path = folder / entries.VERSION / "model.onnx"
            entries.copy_graph(asked.file, path)
            asked = asked.completed(path)
            reasons = _write(asked, folder, path, sample)
    for reason in reasons:
        console.print(f"- {reason}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{asked.out / asked.model}: loaded and warmed as serving would", soft_wrap=True)


def _write(asked: Addition, folder: Path, path: Path, sample: Sample | None) -> list[str]:
    """Fill the entry's folder, and load it; returns what was concluded and found."""
    labels = asked.names
    if asked.task == "embedding" and asked.labels is not None:
        raise InvalidManifest("An embedding has no classes; leave --labels out.")
    with drafts.kept(asked, path):
        section, section_of_task = _inspect(asked, path, sample or trial.bundled_sample(asked.out))
        classes = section_of_task.classes
        if classes is None and labels is None:
            raise InvalidManifest("The graph does not say how many classes there are; name them with --labels.")
    given = asked.given()
    manifest = {
        "task": asked.task,
        "description": f"Added from {asked.file.name}",
        **({} if asked.like is None else {"like": asked.like}),
        **given,
        "input": {**section.section, **_preparation(asked), **given.get("input", {})},
        str(asked.task): {**section_of_task.section, **given.get(str(asked.task), {})},
    }
    names = (
        labels
        if classes is None and labels is not None
        else entries.fit_labels(labels, classes or 0, asked.names_source)
    )
    if asked.dynamic_batch:
        from app.commands import dynamic_batch  # onnx, which only this needs

        dynamic_batch.free(asked.file.name, path, section)
    entries.write_manifest(folder, manifest, names)
    with entries.loaded(folder) as model:
        found = _tried(asked, model, folder, sample)
    decoder = manifest[str(asked.task)].get("decoder")
    return [*asked.told.reasons, *section.reasons, *section_of_task.reasons, *_assumptions(asked, decoder), *found]


def _tried(asked: Addition, model: Model, folder: Path, sample: Sample | None) -> list[str]:
    """What speaks against the manifest in `folder`; and what the model finds in the sample, which is drawn, if any.

    Raises `InvalidManifest` where it cannot be answered, or where a version contradicts the manifest that was there.
    """
    manifest = read_manifest(folder / FILE_NAME)
    if manifest.task == "tensors":
        return [] if sample is None else ["it takes no pictures, so none was tried"]
    shown = sample or trial.bundled_sample(asked.out)
    try:
        tried = trial.run(model, shown)
        doubt = doubts.of_numbers(manifest, tried.outputs, tried.placement)
    except RequestError as error:
        raise InvalidManifest(f"{shown.name} cannot be answered: {error}") from error
    if doubt is not None and asked.version is not None:
        raise InvalidManifest(
            f"{asked.file}: read by the model.yaml that is there, {doubt}. Export it as the version before was, or add "
            "it as a model of its own with another --name and without --version."
        )
    doubt = doubt or doubts.of_answer(tried.answer, shown)
    told = [] if doubt is None else [f"that looks wrong: {doubt}"]
    if sample is None:
        return told
    target = asked.drawn or Path(f"{asked.model}-try.jpg")
    trial.draw(sample, tried.answer, target)
    words = f"in {sample.name} it finds: {trial.in_words(tried.answer)}; drawn in {target}: look whether that is right"
    unsure = asked.version is None and (doubt is not None or not trial.found_something(tried.answer))
    return [words, *told, *(drafts.choices(asked, asked.file) if unsure else [])]


def _inspect(asked: Addition, path: Path, sample: Sample) -> tuple[Conclusion, Conclusion]:
    labels = asked.names
    settled = asked.settled()
    known = settled.get(str(asked.task)) or {}
    try:
        engine = probing.open_graph(path, settled)
        try:
            section = graphs.conclude_input(engine.input, asked.size)
            size = Size(*section.section["size"])
            looks = Looks(engine, section, settled, sample)
            if asked.task == "classification":
                count = None if labels is None else len(labels)
                return section, graphs.conclude_classifier(looks.noise, count, known)
            if asked.task == "segmentation":
                return section, graphs.conclude_segmenter(looks.noise, size, known)
            if asked.task == "embedding":
                return section, value_graphs.conclude_embedding(looks.noise, known)
            if asked.task == "maps":
                return section, value_graphs.conclude_maps(
                    looks.noise, size, None if labels is None else len(labels), known
                )
            by_hand = asked.like is None and "decoder" in known
            return section, conclude_detector(looks, Known(size, labels, known, by_hand))
        finally:
            engine.close()
    except ValidationError as error:
        raise InvalidManifest(f"the fields that were given do not fit: {'; '.join(describe(error))}.") from None


def _preparation(asked: Addition) -> dict[str, Any]:
    """What a family's name says too is left to that."""
    return (
        {}
        if asked.like is not None
        else {"resize": "center_crop" if asked.task in ("classification", "embedding") else "letterbox"}
    )


def _assumptions(asked: Addition, decoder: str | None) -> list[str]:
    if asked.like is not None:
        return [f"pictures are prepared as {asked.like}'s are; `roo-vision models show` prints what that stands for"]
    given = ", ".join(asked.pixels) or "none given"
    if decoder == "yolox":
        return ["YOLOX's own code prepares pictures as --like yolox says, which was not given: try it"]
    return [
        f"assumed, as no graph tells it: resize {_preparation(asked)['resize']}, and of scale, mean, std and channels "
        f"those not given ({given}) as in docs/models.md; try a picture, and correct model.yaml where it is wrong"
    ]
