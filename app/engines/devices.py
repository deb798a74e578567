"""Which device runs the models, and why."""

import logging
from dataclasses import dataclass

from app.errors import DeviceUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """The device chosen at start. `asked` is the setting, `kind` what runs, `reason` why where the two differ."""

    asked: str
    kind: str
    index: int
    reason: str

    @property
    def name(self) -> str:
        """`cpu` or `cuda:N`."""
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


def choose(asked: str, cuda_problem: str | None) -> Device:
    """Resolve the setting `auto | cpu | cuda | cuda:N`.

    `cuda_problem` says why CUDA cannot be used, or is None where it can. Raises `DeviceUnavailable` where a GPU was
    demanded and is not usable; with `auto` the CPU runs, and says so aloud.
    """
    if asked == "cpu":
        return Device(asked, "cpu", 0, "asked for")
    kind, _, index = asked.partition(":")
    if cuda_problem is None:
        return Device(asked, "cuda", int(index or 0), "asked for" if kind == "cuda" else "a usable GPU was found")
    if kind == "cuda":
        raise DeviceUnavailable(
            f"ROO_DEVICE={asked} demands a GPU, but {cuda_problem}. Mend that, or set "
            "ROO_DEVICE=auto to fall back to the CPU."
        )
    log.info("running on the CPU: %s", cuda_problem)
    return Device(asked, "cpu", 0, cuda_problem)
