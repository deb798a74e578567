"""How a run of training begins, in every process that takes part in it."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from models.shelf.training.corpus import Corpus
from models.shelf.training.team import Team
from models.shelf.training.train import Plan, Run, resume, start, train

GENTLE = Plan(rate=5e-4, steps=1500)
"""The plan for fine-tuning."""


@dataclass(frozen=True, slots=True)
class Training:
    """A run of training as each member of a team begins it.

    Afresh, resumed from `work`, or, with the `weights` of a checkpoint, fine-tuning. Without a `plan` it is the one
    saved there, the usual one or the gentle one.
    """

    work: Path
    corpus: Corpus
    plan: Plan | None = None
    resumed: bool = False
    weights: Path | None = None

    def __call__(self, team: Team) -> None:
        """Trains to the end."""
        train(self._run(), self.corpus, self.work, team)

    def _run(self) -> Run:
        last = self.work / "last.pt"
        if self.resumed and last.exists():
            return resume(last, self.plan)
        if self.weights is None:
            return start(self.plan or Plan())
        run = start(replace(self.plan, rate=GENTLE.rate) if self.plan else GENTLE)
        state = torch.load(self.weights, weights_only=True)
        run.model.load_state_dict(state["average"])
        run.average.load_state_dict(state["average"])
        return run
