"""How a run of training begins, in every process that takes part in it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from models.shelf.training import checkpoints
from models.shelf.training.corpus import Corpus
from models.shelf.training.data import Wanted, prepare, prepared, seen_in
from models.shelf.training.served import load_weights
from models.shelf.training.team import Team, by_torchrun, launched, restarted, together
from models.shelf.training.train import Run, TrainingPlan, batches, resume, start, train

if TYPE_CHECKING:
    from models.shelf.training.tracking import Tracking

GENTLE_STEPS, GENTLE_RATE = 1500, 5e-4
"""Of fine-tuning."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """Where to tell of the run in MLflow, if anywhere, and how its data was asked for."""

    uri: str
    experiment: str
    data: str

    def tracking(self, work: Path, plan: TrainingPlan, processes: int) -> "Tracking":
        """All that is said of the run."""
        from models.shelf.training.tracking import Tracking  # MLflow's client is needed only here

        seen = seen_in(work)
        params = {**asdict(plan), "pictures_in_all": len(seen.files), "processes": processes}
        return Tracking(self.uri, self.experiment, params, self.data, seen.digest)


@dataclass(frozen=True, slots=True)
class Training:
    """A run of training as each member of a team begins it.

    Afresh under `plan`, resumed from the newest whole checkpoint in `work`, or, with the `weights` of a checkpoint, an
    ONNX file or a model's folder, gently. `steps` is their number in all, where it is not to be the plan's.
    """

    work: Path
    corpus: Corpus
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    steps: int | None = None
    resumed: bool = False
    weights: Path | None = None
    tracked: Tracked | None = None

    def __call__(self, team: Team) -> None:
        """Trains to the end."""
        run = self._run(team)
        with self._following(run, team):
            train(run, self.corpus, self.work, team)

    def _following(self, run: Run, team: Team) -> AbstractContextManager[None]:
        if self.tracked is None or team.rank > 0:
            return nullcontext()
        from models.shelf.training.tracking import Following  # MLflow's client is needed only here

        return Following(self.work, self.tracked.tracking(self.work, run.plan, team.size))

    def _run(self, team: Team) -> Run:
        content = team.told(self._checkpoint) if self.resumed else None
        if content is not None:
            return resume(content, self.steps, team.device)
        if self.weights is None:
            return start(replace(self.plan, steps=self.steps or self.plan.steps), team.device)
        rate = GENTLE_RATE if self.plan.rate == TrainingPlan().rate else self.plan.rate
        plan = replace(self.plan, steps=self.steps or GENTLE_STEPS, rate=rate)
        run = start(plan)
        load_weights(run.model, self.weights, (shards[0].images for shards in batches(self.corpus, plan, 0)))
        tuned = start(plan, team.device)
        tuned.model.load_state_dict(run.model.state_dict())
        tuned.average.load_state_dict(run.model.state_dict())
        return tuned

    def _checkpoint(self) -> bytes | None:
        content, refused = checkpoints.newest(self.work)
        for line in refused:
            Console().print(line, markup=False, highlight=False, soft_wrap=True)
        return content


def carry_out(
    wanted: Wanted,
    work: Path,
    plan: TrainingPlan,
    steps: int | None,
    resumed: bool,
    weights: Path | None,
    tracked: Tracked | None,
) -> bool:
    """Gathers the data and trains, in the processes that torchrun has started, or in some of its own.

    Returns whether this is the process that speaks for all.
    """
    if not by_torchrun():
        together(Training(work, prepare(wanted, work), plan, steps, resumed, weights, tracked), wanted.processes)
        return True
    with launched() as team:
        if team.local_rank == 0:
            prepare(wanted, work)
        team.wait()
        Training(work, prepared(work), plan, steps, resumed or restarted(), weights, tracked)(team)
        return team.rank == 0
