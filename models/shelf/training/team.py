"""Training in several processes, which add up their gradients after every step.

Either this program starts them itself, of one thread each (`together`), or torchrun has started them, on one machine or
several, with a GPU each where there are some (`launched`). On two free cores two processes are half as fast again as
two threads in one; where other programs want a core, several times: threads wait for each other after every layer,
processes once a step.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from models.shelf.training.coco import DataRefused

PATIENCE = timedelta(hours=2)
"""How long members wait for each other: the first prepares the data meanwhile."""


class MemberLost(RuntimeError):
    """Another process of the team is gone: this one cannot go on without it."""


@dataclass(frozen=True, slots=True)
class Team:
    """One member's view: its rank, counted from 0, how many there are, its rank on its machine, and its device."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: str = "cpu"

    def shards(self, count: int) -> range:
        """Which of a batch's `count` shards are this member's."""
        return range(self.rank, count, self.size)

    def add_up(self, numbers: Tensor) -> None:
        """Replaces `numbers` by their sum over the team; every member must call it. Raises `MemberLost`."""
        if self.size > 1:
            try:
                distributed.all_reduce(numbers)
            except RuntimeError as error:
                raise MemberLost(f"Another process of this training is gone ({str(error).splitlines()[0]}).") from None

    def told(self, by_first: Callable[[], Any]) -> Any:
        """What the first member makes of `by_first`, which it alone calls, in every member."""
        box = [by_first() if self.rank == 0 else None]
        if self.size > 1:
            distributed.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]

    def wait(self) -> None:
        """Until all members are here."""
        if self.size > 1:
            distributed.all_reduce(torch.zeros(1))


ALONE = Team()


def together(work: Callable[[Team], None], size: int) -> None:
    """Calls `work` in `size` processes at once, each with its place in the team; `work` must be picklable."""
    if size == 1:
        torch.set_num_threads(1)
        work(ALONE)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            spawn(_member, (size, Path(folder) / "meeting", work), size)  # type: ignore[no-untyped-call]
        except ProcessExitedException:
            raise DataRefused("") from None  # a member has said why


def _member(rank: int, size: int, meeting: Path, work: Callable[[Team], None]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{meeting}", PATIENCE, size, rank)
    try:
        work(Team(rank, size, rank))
    except (DataRefused, MemberLost) as error:
        if rank == 0:
            print(error, file=sys.stderr)
        sys.exit(1)
    distributed.destroy_process_group()


def by_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def restarted() -> bool:
    """Whether torchrun has started this process anew, after another was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextmanager
def launched() -> Iterator[Team]:
    """This process's place in the team that torchrun has started: NCCL between GPUs, gloo between CPUs."""
    said = os.environ
    rank, size, local_rank = (int(said[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local_rank)
    else:
        torch.set_num_threads(1)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE, store=_store(rank), rank=rank, world_size=size
    )
    try:
        yield Team(rank, size, local_rank, f"cuda:{local_rank}" if gpu else "cpu")
    finally:
        distributed.destroy_process_group()


def _store(rank: int) -> distributed.Store:
    """Where members find each other's addresses.

    After a loss torchrun starts all members anew and keeps its store, in which those of the dead are still written; so
    each attempt has names of its own.
    """
    said = os.environ
    kept_by_agent = said.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    server = distributed.TCPStore(
        said["MASTER_ADDR"],
        int(said["MASTER_PORT"]),
        is_master=rank == 0 and not kept_by_agent,
        timeout=PATIENCE,
        wait_for_workers=False,
    )
    names = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "WORLD_SIZE")
    return distributed.PrefixStore("/".join(said.get(name, "") for name in names), server)
