"""The formats by name, and what is written in several of them at once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from app.commands.output.base import Answered, Output, Wanted
from app.commands.output.coco import Coco
from app.commands.output.crops import Crops
from app.commands.output.drawn import Drawn
from app.commands.output.lines import JsonFiles, JsonLines
from app.commands.output.table import Table
from app.commands.output.yolo import Yolo
from app.errors import StartupError

FORMATS: dict[str, Callable[[Wanted], Output]] = {
    "drawn": Drawn,
    "json": JsonFiles,
    "jsonl": JsonLines,
    "coco": Coco,
    "yolo": Yolo,
    "csv": Table,
    "crops": Crops,
}
OF_DETECTIONS = frozenset({"coco", "yolo", "crops"})


def read_formats(given: list[str]) -> tuple[str, ...]:
    """Names of formats, each given by itself or several with commas between; raises `StartupError` for others."""
    names = [name.strip().lower() for text in given for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise StartupError(f"--format {name!r}: there is no such format. There are {', '.join(FORMATS)}.")
    return tuple(dict.fromkeys(names))


class Outputs(Output):
    """All formats that are wanted."""

    def __init__(self, names: tuple[str, ...], wanted: Wanted) -> None:
        """Raises `StartupError` where a format cannot hold the model's answers, or the folder cannot be written."""
        task = wanted.model.task
        unfit = [name for name in names if name in OF_DETECTIONS]
        if unfit and task != "detection":
            fit = ", ".join(name for name in FORMATS if name not in OF_DETECTIONS)
            raise StartupError(
                f"--format {','.join(unfit)} is for detections, but the task of {wanted.model.name} is {task}. "
                f"For its answers there are {fit}."
            )
        self._out = wanted.out
        self._outputs: list[Output] = []
        with self._writing(), ExitStack() as closing:
            wanted.out.mkdir(parents=True, exist_ok=True)
            for name in names:
                output = FORMATS[name](wanted)
                closing.callback(output.close)
                self._outputs.append(output)
            self._closing = closing.pop_all()

    def save(self, answered: Answered, content: bytes) -> None:
        """See `Output.save`."""
        for output in self._outputs:
            output.save(answered, content)

    def append(self, answered: Answered) -> None:
        """See `Output.append`; raises `StartupError` where a shared file cannot be written any more."""
        with self._writing():
            for output in self._outputs:
                output.append(answered)

    def close(self) -> None:
        """See `Output.close`; raises as `append` does."""
        with self._writing():
            self._closing.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where, why = error.filename or self._out, error.strerror or error
            raise StartupError(f"{where} cannot be written: {why}. Give another --out.") from None
