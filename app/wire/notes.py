"""What a chain's steps say of a crop, in the few words that fit below its box."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.request import InferenceResult
from app.wire.telling import to_crop

Notes = Sequence[Sequence[str]]


def notes_of(result: InferenceResult) -> Notes:
    """For each detection of a chain's answer the lines to be written below it; nothing for a model's answer."""
    if result.chain is None:
        return ()
    return [notes({name: to_crop(answer, None) for name, answer in steps.items()}) for steps in result.chain.nested]


def notes(steps: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines for one detection, by what its steps say, in the shape of `CropPrediction`. Where its text was read,
    that is what matters: not which way up it stands.
    """
    read = any(said.get("text") for said in steps.values())
    return [line for name, said in steps.items() for line in _lines(name, said, decides=read)]


def _lines(name: str, said: Mapping[str, Any], *, decides: bool) -> list[str]:
    if (error := said.get("error")) is not None:
        return [f"{name}: {error['code']}"]
    if (classes := said.get("classes")) is not None:
        return [f"{classes[0]['label']} {classes[0]['score']:.0%}"] if classes and not decides else []
    if (segmentation := said.get("segmentation")) is not None:
        return [f"{part['label']} {part['share']:.0%}" for part in segmentation["segments"]]
    if (read := said.get("text")) is not None:
        return [read["text"]] if read["text"] else []
    if (lines := said.get("lines")) is not None:
        return [text for line in lines if (text := " ".join(notes(line.get("steps") or {})))]
    return [_of_detection(found) for found in said.get("detections") or ()]


def _of_detection(found: Mapping[str, Any]) -> str:
    """What was found in a crop: what is written there, what others say of it, or what it is."""
    return found.get("text") or " ".join(notes(found.get("steps") or {})) or f"{found['label']} {found['score']:.0%}"
