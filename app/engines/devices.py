"""Which device runs the models, and why."""

import logging
from dataclasses import dataclass

from app.errors import DeviceUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """The device chosen at start. `asked` is the setting, `kind` what runs, `reason` why where the two differ.

    `count` is how many GPUs share the work, from `index` on.
    """

    asked: str
    kind: str
    index: int
    reason: str
    count: int = 1

    @property
    def name(self) -> str:
        """`cpu`, `cuda:N` or, of several, `cuda:N-M`."""
        if self.kind == "cpu":
            return self.kind
        several = f"-{self.index + self.count - 1}" if self.count > 1 else ""
        return f"{self.kind}:{self.index}{several}"

    @property
    def members(self) -> tuple["Device", ...]:
        """Each GPU by itself; a CPU is one."""
        return tuple(Device(self.asked, self.kind, self.index + place, self.reason) for place in range(self.count))


def choose(asked: str, cuda_problem: str | None, gpus: int = 1) -> Device:
    """Resolve the setting `auto | cpu | cuda | cuda:N` on a machine with so many GPUs; without a number all are used.

    `cuda_problem` says why CUDA cannot be used, or is None where it can. Raises `DeviceUnavailable` where a GPU was
    demanded and is not usable; with `auto` the CPU runs, and says so aloud.
    """
    if asked == "cpu":
        return Device(asked, "cpu", 0, "asked for")
    kind, _, index = asked.partition(":")
    if cuda_problem is None and index and int(index) >= gpus:
        cuda_problem = f"there are only {gpus} GPUs, counted from 0"
    if cuda_problem is None:
        reason = "asked for" if kind == "cuda" else "a usable GPU was found"
        return Device(asked, "cuda", int(index or 0), reason, 1 if index else gpus)
    if kind == "cuda":
        raise DeviceUnavailable(
            f"ROO_DEVICE={asked} demands a GPU, but {cuda_problem}. Mend that, or set "
            "ROO_DEVICE=auto to fall back to the CPU."
        )
    log.info("running on the CPU: %s", cuda_problem)
    return Device(asked, "cpu", 0, cuda_problem)
