"""What stays of an addition that was refused: the manifest as far as it is known, and what there is to choose from."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from app.commands import graphs, probing, readings, trial
from app.commands.addition import Addition
from app.commands.readings import Attempts, Reading
from app.engines import onnx
from app.engines.base import TensorSpec
from app.errors import InvalidManifest, StartupError

FOLDER = ".drafts"
"""Within a repository; no service looks for models in it."""
_EMPTY = {
    "detection": "decoder",
    "classification": "softmax",
    "segmentation": "layout",
    "embedding": "pick",
    "maps": "unit",
}
"""Of each task's section the field that chooses."""
_OPTION = re.compile(r"--set (\w+)\.(\w+)=")


@contextmanager
def kept(asked: Addition, graph: Path) -> Iterator[None]:
    """Where the block refuses the graph, leave a draft of its manifest in the repository, and say so."""
    try:
        yield
    except InvalidManifest as error:
        target = asked.out / FOLDER / f"{asked.model}.yaml"
        seen = [*_seen(graph), _names(asked), *choices(asked, graph)]
        command = f"roo-vision models add {asked.file} --manifest {target} --out {asked.out} --name {asked.model}"
        refusal = str(error).replace(str(graph), str(asked.file))
        comment = [f"Draft of model.yaml for {asked.file.name}, which was refused:", refusal, *seen, f"Then: {command}"]
        try:
            target.parent.mkdir(exist_ok=True)
            target.write_text(_text(asked, graph, comment, _open_fields(asked, refusal)), "utf-8")
        except OSError:
            raise error from None
        lines = "\n".join(f"  {line}" for line in seen)
        raise type(error)(
            f"{refusal}\n{lines}\nA draft of its manifest is {target}; complete it, then:\n  {command}"
        ) from error


def _open_fields(asked: Addition, refusal: str) -> list[tuple[str, str]]:
    """Section and name of the fields that a refusal asks for."""
    task = str(asked.task)
    named = list(dict.fromkeys(_OPTION.findall(refusal)))
    named += [(task, "decoder")] if "--decoder" in refusal and (task, "decoder") not in named else []
    return named or [(task, _EMPTY[task])]


def _text(asked: Addition, graph: Path, comment: list[str], missing: list[tuple[str, str]]) -> str:
    """The draft: comments, and fields of which the `missing` are empty."""
    given = asked.given()
    pixels = given.pop("input", {})
    with suppress(StartupError):
        pixels = {**graphs.conclude_input(_picture(graph), asked.size).section, **pixels}
    content: dict[str, Any] = {
        "task": asked.task,
        "like": asked.like,
        "labels": list(asked.names or ()),
        "input": pixels,
    }
    content |= given
    content.setdefault(str(asked.task), {})
    for section, name in missing:
        content.setdefault(section, {}).setdefault(name, None)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    text = text.replace(": null\n", ":  # to be filled in, or removed: see above\n")
    return "".join(f"# {line}\n" for part in comment for line in part.splitlines()) + text


def _seen(graph: Path) -> list[str]:
    inputs, outputs = onnx.signature(graph)
    return [f"input {_tensor(spec)}" for spec in inputs] + [f"output {_tensor(spec)}" for spec in outputs]


def _names(asked: Addition) -> str:
    return "names: none are known" if asked.names is None else f"names: {len(asked.names)}, from {asked.names_source}"


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype} {[side or 'any' for side in spec.shape]}"


def _picture(graph: Path) -> TensorSpec:
    inputs, _ = onnx.signature(graph)
    return next((spec for spec in inputs if len(spec.shape) == graphs.PICTURE_DIMENSIONS), inputs[0])


def choices(asked: Addition, graph: Path) -> list[str]:
    """What can be chosen for the task, and what it finds in a picture."""
    sample = trial.read_sample(asked.picture) if asked.picture else trial.bundled_sample(asked.out)
    try:
        shape = graphs.conclude_input(_picture(graph), asked.size).section
    except InvalidManifest:
        return []
    count = None if asked.names is None else len(asked.names)
    with closing(
        Attempts(lambda constants: probing.open_with(graph, constants), shape, sample, asked.names)
    ) as attempts:
        found = [attempts.read(way) for way in readings.candidates(count, asked.told) if way.task == asked.task]
    answered = sorted((reading for reading in found if reading.answer is not None), key=lambda each: bool(each.doubt))
    if not answered:
        plugged = " A function of yours may read it: --decoder package.module:function (docs/models.md)."
        return [f"None of the decoders fits.{plugged if asked.task == 'detection' else ''}"]
    return [f"What fits, and what it finds in {sample.name}:", *map(_choice, answered)]


def _choice(reading: Reading) -> str:
    assert reading.answer is not None
    doubt = f" ({reading.doubt})" if reading.doubt else ""
    return f"{reading.candidate.options}: {trial.in_words(reading.answer)}{doubt}"
