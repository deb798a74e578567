"""The training loop: AdamW, a flat rate that falls at the end, moving average of the weights, growing pictures.

A batch is made of shards. Each is normalised by itself and they are averaged, whichever processes compute them: the
curve of the losses is the same for one process, two, and all those of a cluster.
"""

import copy
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models.shelf.training import checkpoints
from models.shelf.training.augment import batch
from models.shelf.training.coco import DataRefused
from models.shelf.training.corpus import Corpus
from models.shelf.training.journal import Journal
from models.shelf.training.loss import BOX_WEIGHT, EDGE_WEIGHT, Targets, detection_loss
from models.shelf.training.network import NECK, WIDTHS, Detector, cells
from models.shelf.training.team import ALONE, Team

Canvas = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a run of training is; saved with every checkpoint.

    `phases` lists (share of the steps, canvases (width, height) drawn from in that phase); the number of pictures in a
    batch shrinks on larger canvases so that every step costs about the same. `shards` is into how many parts a batch is
    dealt: at least as many as there are processes.
    """

    steps: int = 15_400
    pictures: int = 16
    shards: int = 2
    rate: float = 2.5e-3
    flat: float = 0.5
    decay: float = 0.03
    warmup: int = 400
    average: float = 0.9985
    seed: int = 0
    bf16: bool = True
    save_every: int = 250
    report_every: int = 50
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

    def shard(self, canvas: Canvas) -> int:
        """How many pictures of that canvas a shard has."""
        area = 416 * 256 / (canvas[0] * canvas[1])
        return max(2, round(self.pictures * min(area, 1.5) / self.shards))


@dataclass(slots=True)
class Run:
    """A model in training: weights, their moving average, the optimiser, the number of steps done, smoothed losses."""

    plan: TrainingPlan
    model: Detector
    average: Detector
    optimiser: torch.optim.AdamW
    step: int = 0
    shown: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def content(self) -> bytes:
        """A checkpoint."""
        state = {
            "plan": asdict(self.plan),
            "step": self.step,
            "shown": self.shown,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        packed = io.BytesIO()
        torch.save(state, packed)
        return packed.getvalue()

    def show(self, losses: tuple[float, ...]) -> None:
        """Smooths the losses of a step into `shown`."""
        self.shown = [0.95 * old + 0.05 * new if old else new for old, new in zip(self.shown, losses, strict=True)]


def start(plan: TrainingPlan, device: str = "cpu") -> Run:
    """A fresh run."""
    torch.manual_seed(plan.seed)
    model = Detector(plan.widths, plan.neck).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": plan.decay}, {"params": others, "weight_decay": 0.0}]
    return Run(plan, model, copy.deepcopy(model).eval(), torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.99)))


def resume(content: bytes, steps: int | None = None, device: str = "cpu") -> Run:
    """The run of a checkpoint, under the plan saved with it; `steps` changes their number in all."""
    state = torch.load(io.BytesIO(content), weights_only=True, map_location=device)
    plan = load_plan(state["plan"])
    run = start(replace(plan, steps=steps) if steps else plan, device)
    run.model.load_state_dict(state["model"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.step, run.shown = state["step"], state["shown"]
    return run


def load_plan(saved: dict[str, Any]) -> TrainingPlan:
    """A plan from its fields, all of them or some. Raises `DataRefused` for one that is none."""
    unknown = sorted(saved.keys() - TrainingPlan.__dataclass_fields__.keys())
    if unknown:
        raise DataRefused(f"{', '.join(unknown)}: no field of a plan ({', '.join(TrainingPlan.__dataclass_fields__)}).")
    plan = TrainingPlan(**saved)
    phases = tuple((until, tuple((width, height) for width, height in options)) for until, options in plan.phases)
    return replace(plan, widths=tuple(plan.widths), phases=phases)


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a batch: images float32 [B, 3, H, W], 0 to 1, their objects, and their numbers in the corpus."""

    images: Tensor
    targets: Targets
    pictures: list[int]

    def on(self, device: str) -> "Shard":
        """The same in a device's memory."""
        return Shard(self.images.to(device, non_blocking=True), self.targets.on(device), self.pictures)


def batches(corpus: Corpus, plan: TrainingPlan, first: int, team: Team = ALONE) -> Iterator[list[Shard]]:
    """This member's shards of the batches of steps `first` and on, prepared two ahead in a thread.

    What is in them depends on the seed, the step and the shard's number alone.
    """
    weights = corpus.weights()

    def prepare(step: int) -> list[Shard]:
        canvas = plan.canvas(step)
        made = []
        for number in team.shards(plan.shards):
            rng = np.random.default_rng([plan.seed, step, number])
            chosen = rng.choice(len(corpus), plan.shard(canvas), p=weights)
            images, targets = batch(corpus, chosen, rng, canvas)
            made.append(Shard(images, targets, chosen.tolist()))
        return made

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(prepare, step) for step in range(first, min(first + 2, plan.steps))]
        for step in range(first, plan.steps):
            ready = waiting.pop(0).result()
            if step + 2 < plan.steps:
                waiting.append(pool.submit(prepare, step + 2))
            yield ready


def train_step(run: Run, shards: list[Shard], team: Team = ALONE) -> tuple[float, float]:
    """One optimiser step over this member's shards; returns class loss and box loss of the whole batch.

    Raises `DataRefused` where they or their gradients are no numbers; the weights are those of the step before.
    """
    plan = run.plan
    for group in run.optimiser.param_groups:
        group["lr"] = plan.rate_at(run.step)
    run.model.train()
    run.optimiser.zero_grad(set_to_none=False)
    before = _statistics(run.model)
    after = torch.zeros_like(before)
    losses = torch.zeros(2, device=team.device)
    for shard in shards:
        _set(_buffers(run.model), before)
        losses += _backward(run, shard.on(team.device))
        after += _statistics(run.model)
    gradients = [_gradient(parameter) for parameter in run.model.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients] + [after, losses])
    team.add_up(flat)
    flat /= plan.shards
    class_loss, box_loss = flat[-2:].tolist()
    if not torch.isfinite(flat).all():
        _set(_buffers(run.model), before)
        raise DataRefused(_not_numbers(run, class_loss, box_loss))
    _set(gradients, flat[: -2 - len(before)])
    _set(_buffers(run.model), flat[-2 - len(before) : -2])
    nn.utils.clip_grad_norm_(run.model.parameters(), 10.0)
    run.optimiser.step()
    run.step += 1
    _average(run)
    return class_loss, box_loss


def _backward(run: Run, shard: Shard) -> Tensor:
    """Adds the gradients of one shard; its class loss and box loss."""
    images = shard.images
    centre, stride = cells(images.shape[2], images.shape[3], images.device)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=run.plan.bf16):
        predicted = run.model(images.contiguous(memory_format=torch.channels_last))
    class_loss, box_loss, edge_loss = detection_loss(predicted, shard.targets, centre, stride)
    torch.autograd.backward(class_loss + BOX_WEIGHT * box_loss + EDGE_WEIGHT * edge_loss)
    return torch.stack([class_loss.detach(), box_loss.detach()])


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _buffers(model: Detector) -> list[Tensor]:
    """What batch normalisation has measured."""
    return [buffer for buffer in model.buffers() if buffer.dtype.is_floating_point]


def _statistics(model: Detector) -> Tensor:
    return torch.cat([buffer.flatten() for buffer in _buffers(model)])


@torch.no_grad()
def _set(tensors: list[Tensor], flat: Tensor) -> None:
    for tensor, values in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(values.view_as(tensor))


def _not_numbers(run: Run, class_loss: float, box_loss: float) -> str:
    return (
        f"Step {run.step}: the losses or their gradients are no numbers any more (class {class_loss}, box {box_loss}). "
        "Nothing is saved from here on; the last checkpoint is well. Train at a lower rate (in this step it was "
        f"{run.plan.rate_at(run.step):.2g}) or without bf16."
    )


@torch.no_grad()
def _average(run: Run) -> None:
    keep = min(run.plan.average, run.step / (run.step + 100))
    for slow, fast in zip(run.average.state_dict().values(), run.model.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - keep)
        else:
            slow.copy_(fast)


def train(run: Run, corpus: Corpus, folder: Path, team: Team = ALONE) -> None:
    """Trains to the end of the plan; `folder` receives checkpoints and `log.jsonl` from the team's first member.

    Raises `DataRefused` and `MemberLost`.
    """
    plan = run.plan
    if team.size > plan.shards:
        raise DataRefused(f"{team.size} processes have {plan.shards} shards to train on: --shards {team.size}.")
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder, plan.steps, run.step, quiet=team.rank > 0) as journal:
        for shards in batches(corpus, plan, run.step, team):
            run.show(_step(run, shards, corpus, team))
            if team.rank > 0:
                continue
            if run.step % plan.report_every == 0 or run.step == plan.steps:
                pictures = plan.shards * len(shards[0].pictures)
                journal.report(run.step, pictures, *run.shown, rate=plan.rate_at(run.step - 1))
            if run.step % plan.save_every == 0 or run.step == plan.steps:
                _save(run, folder, journal)


def _step(run: Run, shards: list[Shard], corpus: Corpus, team: Team) -> tuple[float, float]:
    try:
        return train_step(run, shards, team)
    except DataRefused as error:
        names = ", ".join(str(corpus.files[index]) for shard in shards for index in shard.pictures)
        raise DataRefused(f"{error} The pictures of that step: {names}") from None


def _save(run: Run, folder: Path, journal: Journal) -> None:
    """A checkpoint; without room the training goes on with the one before, but it does not end without one."""
    try:
        checkpoints.write(folder, run.step, run.content())
    except checkpoints.NotWritten as error:
        if run.step == run.plan.steps:
            raise
        journal.say(str(error))
