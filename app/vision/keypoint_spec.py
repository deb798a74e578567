"""How a detector's keypoints are to be read, and what they are called: a part of the manifest's detection."""

from typing import Any, Literal

from pydantic import Field, model_validator

from app.vision.keypoint_sets import NAMES, SKELETONS, Link
from app.vision.tasks import TaskSpec

_MOST_POINTS = 1000


class KeypointSpec(TaskSpec):
    """The manifest's `detection.keypoints`: points of each detection, K of them, called `names`, in that order; `coco`
    and `hand` stand for well-known sets and their skeletons. `skeleton` says between which of them lines are drawn.

    They are read from each candidate's `extras`, K times `dimensions` numbers (Ultralytics' pose heads): x, y and, if
    there are 3, the point's score; or from the output `output` [M, K, 2 or 3], of which the first two numbers are read,
    and `scores` [M, K] (Keypoint R-CNN, He et al. 2017, arXiv 1703.06870). With `apply_sigmoid` scores are logits.
    """

    names: tuple[str, ...] = Field(min_length=1, max_length=_MOST_POINTS)
    skeleton: tuple[Link, ...] = ()
    dimensions: Literal[2, 3] = 3
    output: str | None = None
    scores: str | None = None
    apply_sigmoid: bool = False

    @model_validator(mode="before")
    @classmethod
    def _known_set(cls, section: Any) -> Any:
        name = section.get("names") if isinstance(section, dict) else None
        if not isinstance(name, str):
            return section
        if name not in NAMES:
            raise ValueError(f"names: {name!r} is none of the sets {', '.join(NAMES)}; list the points' names")
        return {"skeleton": SKELETONS[name], **section, "names": NAMES[name]}

    @model_validator(mode="after")
    def _consistent(self) -> "KeypointSpec":
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"names: {twice[0]!r} is there more than once")
        missing = [name for pair in self.skeleton for name in pair if name not in self.names]
        if missing:
            raise ValueError(f"skeleton: there is no point {missing[0]!r}; the points are {', '.join(self.names)}")
        if self.scores is not None and self.output is None:
            raise ValueError("scores: belongs to output; name the output of the points, or remove it")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that are read."""
        return tuple(name for name in (self.output, self.scores) if name is not None)

    @property
    def extras(self) -> int:
        """How many of a candidate's further numbers are read."""
        return 0 if self.output is not None else len(self.names) * self.dimensions

    @property
    def links(self) -> tuple[tuple[int, int], ...]:
        """The skeleton by the points' places."""
        places = {name: place for place, name in enumerate(self.names)}
        return tuple((places[one], places[other]) for one, other in self.skeleton)
