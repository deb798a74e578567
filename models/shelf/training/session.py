"""How a run of training begins, in every process that takes part in it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from models.shelf.training.corpus import Corpus
from models.shelf.training.team import Team
from models.shelf.training.train import Run, TrainingPlan, resume, start, train

GENTLE_STEPS, GENTLE_RATE = 1500, 5e-4
"""Of fine-tuning."""


@dataclass(frozen=True, slots=True)
class Training:
    """A run of training as each member of a team begins it.

    Afresh under `plan`, resumed from `work`, or, with the `weights` of a checkpoint, gently. `steps` is their number in
    all, where it is not to be the plan's.
    """

    work: Path
    corpus: Corpus
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    steps: int | None = None
    resumed: bool = False
    weights: Path | None = None

    def __call__(self, team: Team) -> None:
        """Trains to the end."""
        train(self._run(), self.corpus, self.work, team)

    def _run(self) -> Run:
        last = self.work / "last.pt"
        if self.resumed and last.exists():
            return resume(last, self.steps)
        if self.weights is None:
            return start(replace(self.plan, steps=self.steps or self.plan.steps))
        run = start(replace(self.plan, steps=self.steps or GENTLE_STEPS, rate=GENTLE_RATE))
        state = torch.load(self.weights, weights_only=True)
        run.model.load_state_dict(state["average"])
        run.average.load_state_dict(state["average"])
        return run
