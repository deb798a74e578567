"""The training loop: AdamW, a flat rate that falls at the end, moving average of the weights, growing pictures."""

import copy
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from models.shelf.training.augment import batch
from models.shelf.training.corpus import Corpus
from models.shelf.training.loss import BOX_WEIGHT, EDGE_WEIGHT, Targets, detection_loss
from models.shelf.training.network import NECK, WIDTHS, Detector, cells
from models.shelf.training.team import ALONE, Team

Canvas = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a run of training is; saved with every checkpoint.

    `phases` lists (share of the steps, canvases (width, height) drawn from in that phase); the number of pictures in a
    batch shrinks on larger canvases so that every step costs about the same.
    """

    steps: int = 15_400
    pictures: int = 16
    rate: float = 2.5e-3
    flat: float = 0.5
    decay: float = 0.03
    warmup: int = 400
    average: float = 0.9985
    seed: int = 0
    bf16: bool = True
    save_every: int = 250
    widths: tuple[int, ...] = WIDTHS
    neck: int = NECK
    phases: tuple[tuple[float, tuple[Canvas, ...]], ...] = (
        (0.3, ((320, 192), (320, 192), (320, 192), (320, 256))),
        (0.65, ((416, 256), (416, 256), (416, 256), (416, 320))),
        (1.0, ((512, 320),)),
    )

    def canvas(self, step: int) -> Canvas:
        """The canvas of one step."""
        share = step / self.steps
        options = next(options for until, options in self.phases if share <= until)
        return options[step % len(options)]

    def rate_at(self, step: int) -> float:
        """Linear warm-up, flat for the share `flat` of the steps, then half a cosine down to one hundredth."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        share = max(0.0, step / self.steps - self.flat) / (1 - self.flat)
        return self.rate * (0.01 + 0.99 * (1 + float(np.cos(np.pi * share))) / 2)


@dataclass(slots=True)
class Run:
    """A model in training: weights, their moving average, the optimiser and the number of steps done."""

    plan: TrainingPlan
    model: Detector
    average: Detector
    optimiser: torch.optim.AdamW
    step: int = 0

    def save(self, path: Path) -> None:
        """Writes a checkpoint; a crash while writing leaves the previous one."""
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)


def start(plan: TrainingPlan) -> Run:
    """A fresh run."""
    torch.manual_seed(plan.seed)
    model = Detector(plan.widths, plan.neck).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": plan.decay}, {"params": others, "weight_decay": 0.0}]
    return Run(plan, model, copy.deepcopy(model).eval(), torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.99)))


def resume(path: Path, steps: int | None = None) -> Run:
    """The run saved at `path`, under the plan saved with it; `steps` changes their number in all."""
    state = torch.load(path, weights_only=True)
    plan = load_plan(state["plan"])
    run = start(replace(plan, steps=steps) if steps else plan)
    run.model.load_state_dict(state["model"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.step = state["step"]
    return run


def load_plan(saved: dict[str, Any]) -> TrainingPlan:
    """A plan from its saved fields."""
    phases = tuple((until, tuple(tuple(canvas) for canvas in options)) for until, options in saved["phases"])
    return TrainingPlan(**{**saved, "widths": tuple(saved["widths"]), "phases": phases})


def batches(corpus: Corpus, plan: TrainingPlan, first: int, team: Team = ALONE) -> Iterator[tuple[Tensor, Targets]]:
    """This member's part of the batches of steps `first` and on, prepared two ahead in a thread.

    It depends on the seed, the step and the member's rank alone.
    """

    weights = corpus.weights()

    def prepare(step: int) -> tuple[Tensor, Targets]:
        rng = np.random.default_rng([plan.seed, step, team.rank])
        canvas = plan.canvas(step)
        area = 416 * 256 / (canvas[0] * canvas[1])
        count = max(2, round(plan.pictures * min(area, 1.5) / team.size))
        return batch(corpus, rng.choice(len(corpus), count, p=weights), rng, canvas)

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(prepare, step) for step in range(first, min(first + 2, plan.steps))]
        for step in range(first, plan.steps):
            ready = waiting.pop(0).result()
            if step + 2 < plan.steps:
                waiting.append(pool.submit(prepare, step + 2))
            yield ready


def train_step(run: Run, images: Tensor, targets: Targets, team: Team = ALONE) -> tuple[float, float]:
    """One optimiser step; returns class loss and box loss."""
    plan = run.plan
    for group in run.optimiser.param_groups:
        group["lr"] = plan.rate_at(run.step)
    run.model.train()
    centre, stride = cells(images.shape[2], images.shape[3], images.device)
    with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
        predicted = run.model(images.contiguous(memory_format=torch.channels_last))
    class_loss, box_loss, edge_loss = detection_loss(predicted, targets, centre, stride)
    run.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(class_loss + BOX_WEIGHT * box_loss + EDGE_WEIGHT * edge_loss)
    team.average_gradients(run.model)
    nn.utils.clip_grad_norm_(run.model.parameters(), 10.0)
    run.optimiser.step()
    run.step += 1
    _average(run)
    return class_loss.item(), box_loss.item()


@torch.no_grad()
def _average(run: Run) -> None:
    keep = min(run.plan.average, run.step / (run.step + 100))
    for slow, fast in zip(run.average.state_dict().values(), run.model.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - keep)
        else:
            slow.copy_(fast)


def train(run: Run, corpus: Corpus, folder: Path, team: Team = ALONE) -> None:
    """Trains to the end of the plan; `folder` receives `last.pt` and `log.jsonl` from the team's first member."""
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(quiet=team.rank > 0)
    shown = [0.0, 0.0]
    with Path(folder / "log.jsonl" if team.rank == 0 else os.devnull).open("a") as log:
        for images, targets in batches(corpus, run.plan, run.step, team):
            losses = train_step(run, images, targets, team)
            shown = [0.95 * old + 0.05 * new if old else new for old, new in zip(shown, losses, strict=True)]
            if run.step % 50 == 0:
                record = {"step": run.step, "class_loss": round(shown[0], 4), "box_loss": round(shown[1], 4)}
                log.write(json.dumps(record) + "\n")
                log.flush()
                console.print(f"step {run.step}/{run.plan.steps}  class {shown[0]:.3f}  box {shown[1]:.3f}")
            if team.rank == 0 and (run.step % run.plan.save_every == 0 or run.step == run.plan.steps):
                run.save(folder / "last.pt")
