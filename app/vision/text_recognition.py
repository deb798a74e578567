"""Text recognition: what one line of text says, by connectionist temporal classification."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from app.errors import EngineFailure, InvalidManifest
from app.vision.header import Size
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tasks import OF_BOXES, OF_MAPS, OF_VECTORS, Grey, Options, Outputs, TaskSpec, chosen_output, refuse


class TextRecognitionSpec(TaskSpec):
    """The manifest's section for `task: text_recognition`; `labels` is the dictionary, one character a line.

    The output is how likely each character stands at each step along the line, [steps, characters]: probabilities or,
    with `softmax`, logits. `blank`, the character that stands for none, comes `first` or `last`, and beside the
    dictionary there is a `space` behind it. A text that scores less than `score_threshold` is answered as none.
    `output` names the output to read, where the graph has several.
    """

    blank: Literal["first", "last"] = "first"
    space: bool = True
    softmax: bool = False
    score_threshold: float = Field(default=0.0, ge=0, le=1)
    output: str | None = None


@dataclass(frozen=True, slots=True)
class TextRecognition:
    """What a line says, and how sure that is: the mean of its characters' probabilities, 0 where there is none."""

    text: str
    score: float


class TextRecognitionTask:
    """Turns a recogniser's outputs into a `TextRecognition`."""

    name: ClassVar[str] = "text_recognition"

    def __init__(self, spec: TextRecognitionSpec, dictionary: tuple[str, ...]) -> None:
        """`dictionary` are the characters in the model's order, without the blank and the space behind them."""
        self.spec = spec
        self.labels: tuple[str, ...] = ()  # characters are no classes: tens of thousands, of no use to a caller
        characters = (*dictionary, *([" "] if spec.space else []))
        self._characters = ("", *characters) if spec.blank == "first" else (*characters, "")
        self._blank = 0 if spec.blank == "first" else len(characters)
        self._dictionary = len(dictionary)

    def check(self, outputs: Outputs) -> None:
        """Check one picture's output rows at warm-up.

        Raises `InvalidManifest` where `output` is missing or ambiguous, or the dictionary does not fit it.
        """
        table = chosen_output(outputs, self.spec.output)
        if table.ndim != 2 or not table.size:
            raise InvalidManifest(
                f"output: the model's has the shape {list(table.shape)}, but a recogniser's is [steps, characters]; "
                "choose another output or another task"
            )
        if table.shape[1] != len(self._characters):
            raise InvalidManifest(self._misfit(table.shape))
        if not self.spec.softmax and not _are_shares(table):
            raise InvalidManifest("softmax: the model's output is not of 0 to 1; write `softmax: true` for logits")

    def check_options(self, options: Options) -> None:
        """See `Task.check_options`."""
        names = ("top_k", "classes", "read_barcodes", *OF_BOXES, *OF_VECTORS, *OF_MAPS)
        refuse(options, names, "the model reads one line of text, which has neither boxes nor classes")

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> TextRecognition:
        """Decode one line: the likeliest character of each step, repetitions once, blanks left out.

        Raises `EngineFailure` where the outputs are not finite or, without `softmax`, not of 0 to 1.
        """
        table = np.asarray(chosen_output(outputs, self.spec.output), np.float32)
        best = table.argmax(axis=1)
        shares = self._shares(table, best)
        kept = (best != self._blank) & np.diff(best, prepend=-1).astype(bool)
        text = "".join(self._characters[number] for number in best[kept].tolist())
        score = float(shares[kept].mean()) if kept.any() else 0.0
        threshold = self.spec.score_threshold if options.score_threshold is None else options.score_threshold
        return TextRecognition(text if score >= threshold else "", score)

    def refine(self, prediction: TextRecognition, grey: Callable[[], Grey], options: Options) -> TextRecognition:
        """Nothing to look at again."""
        return prediction

    def moved(self, prediction: TextRecognition, region: Region, whole: Size) -> TextRecognition:
        """It has no place."""
        return prediction

    def _shares(self, table: NDArray[np.float32], best: NDArray[np.intp]) -> NDArray[np.float32]:
        """How likely each step's best character is."""
        highest = np.take_along_axis(table, best[:, None], axis=1)
        if not np.isfinite(highest).all() or not (self.spec.softmax or _are_shares(highest)):
            raise EngineFailure("The model's answer for this picture holds numbers that are no probabilities.")
        if not self.spec.softmax:
            return highest[:, 0]
        return np.asarray(1 / np.exp(table - highest).sum(axis=1), np.float32)

    def _misfit(self, shape: tuple[int, ...]) -> str:
        has = f"the dictionary has {self._dictionary} characters, with {'space and ' if self.spec.space else ''}blank "
        has += f"{len(self._characters)}"
        if shape[0] == len(self._characters):
            return f"output: the model's is {list(shape)}, with the characters first; let the graph transpose it"
        return (
            f"labels: {has}, but the model scores {shape[1]} at each step; take the dictionary that the model was "
            "trained with, or correct `space`"
        )


def _are_shares(table: NDArray[Any]) -> bool:
    return bool(np.isfinite(table).all() and table.min() >= -1e-6 and table.max() <= 1 + 1e-5)
