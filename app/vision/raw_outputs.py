"""No task: the outputs as they are, for callers who prepare inputs and read outputs themselves."""

from collections.abc import Callable
from typing import Any, ClassVar

from app.vision.header import Size
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tasks import Grey, Options, Outputs


class RawOutputs:
    """`task: tensors`. `labels` may name the last dimension of an output, or be empty."""

    name: ClassVar[str] = "tensors"

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def check(self, outputs: Outputs) -> None:
        """Whatever the graph gives will do."""

    def check_options(self, options: Options) -> None:
        """None comes here: options belong to pictures."""

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> Outputs:
        """The outputs."""
        return outputs

    def refine(self, prediction: Any, grey: Callable[[], Grey], options: Options) -> Any:
        """There is nothing to look at again."""
        return prediction

    def moved(self, prediction: Any, region: Region, whole: Size) -> Any:
        """They have no place."""
        return prediction
