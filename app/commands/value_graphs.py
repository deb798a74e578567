"""What an ONNX graph of vectors or of maps seems to be, from its shapes and from what it answers to random pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from app.commands.graphs import Conclusion, shapes
from app.engines.base import Array
from app.errors import InvalidManifest
from app.vision.image import Size

_TOKENS, _PLANES = 2, 3
_UNITS = {
    "metres": "metres",
    "relative": "distances, larger is farther",
    "inverse": "distances, larger is nearer, as of disparities",
    "score": "scores of 0 to 1, with --set maps.apply_sigmoid=true where they are logits",
}


def conclude_embedding(rows: Mapping[str, Array], settled: Mapping[str, Any]) -> Conclusion:
    """Which output is the vector, or what of it; `rows` are one picture's outputs, `settled` the fields of the section
    that are known.

    Raises `InvalidManifest` where not exactly one output can be it, or it can be read in two ways.
    """
    outputs, rows = rows, _asked(rows, settled)
    floats = {name: row for name, row in rows.items() if row.dtype.kind == "f" and row.size > 1}
    vectors = [name for name, row in floats.items() if row.size == max(row.shape)]
    deeper = [name for name, row in floats.items() if row.ndim in (_TOKENS, _PLANES) and row.size > max(row.shape)]
    fitting = {"none": vectors, None: vectors or deeper}.get(settled.get("pick"), deeper)
    if len(fitting) != 1:
        choices = " or ".join(f"--set embedding.output={name}" for name in fitting)
        raise InvalidManifest(
            f"{shapes(rows)}: not exactly one of them is a vector{f'; say which: {choices}' if choices else ''}."
        )
    (name,) = fitting
    row = rows[name]
    said = f"{shapes(rows)}: {name}"
    _refuse_numbers(said, row)
    output = _named(name, outputs, settled)
    if name in vectors or "pick" in settled:
        return Conclusion(output, (f"{said} is the vector, or what is picked of it",), 0)
    if row.ndim == _PLANES:
        return Conclusion({"pick": "mean"} | output, (f"{said} is a map, of which the mean is taken",), 0)
    raise InvalidManifest(
        f"{said} is tokens, of which the first can be the picture's vector or the mean of them all: say "
        "--set embedding.pick=cls, or --set embedding.pick=mean, with --set embedding.skip_tokens=1 where the first is "
        "no place of the picture."
    )


def conclude_maps(rows: Mapping[str, Array], size: Size, labels: int | None, settled: Mapping[str, Any]) -> Conclusion:
    """Which output has the numbers of each place; arguments as those of `conclude_embedding`, `size` being the input's
    and `labels` how many names were given.

    Raises `InvalidManifest` where not exactly one output can be that, or nobody says what its numbers are.
    """
    outputs, rows = rows, _asked(rows, settled)
    fitting = [name for name, row in rows.items() if row.ndim in (2, 3) and min(row.shape[-2:]) > 1]
    if len(fitting) != 1:
        choices = " or ".join(f"--set maps.output={name}" for name in fitting)
        raise InvalidManifest(
            f"{shapes(rows)}: not exactly one of them is numbers [h, w] or [channels, h, w]"
            f"{f'; say which: {choices}' if choices else ''}."
        )
    (name,) = fitting
    row = rows[name]
    said = f"{shapes(rows)}: {name}"
    channels = len(row) if row.ndim == _PLANES else 1
    aspect = size.height / size.width
    if channels > 1 and abs(row.shape[1] / row.shape[2] - aspect) > abs(row.shape[0] / row.shape[1] - aspect):
        raise InvalidManifest(
            f"{said} seems to have the channels last; let the graph transpose it to [channels, h, w]."
        )
    _refuse_numbers(said, row)
    if "unit" not in settled:
        choices = "; ".join(f"--set maps.unit={unit}: {words}" for unit, words in _UNITS.items())
        raise InvalidManifest(f"{said} is numbers of places, and no graph tells what they are. Say it. {choices}.")
    output = _named(name, outputs, settled)
    why = f"{said} is {channels} map{'s' * (channels > 1)} of {row.shape[-1]} x {row.shape[-2]} places"
    return Conclusion(output, (why,), channels if channels > 1 or labels is not None else 0)


def _asked(rows: Mapping[str, Array], settled: Mapping[str, Any]) -> Mapping[str, Array]:
    """The output that is named or, where a family names one that is not there, all."""
    named: str = settled.get("output") or ""
    return {named: rows[named]} if named in rows else rows


def _named(name: str, outputs: Mapping[str, Array], settled: Mapping[str, Any]) -> dict[str, str]:
    """The field that names the output, where that must be said."""
    said = settled.get("output")
    return {"output": name} if said != name and (said is not None or len(outputs) > 1) else {}


def _refuse_numbers(said: str, row: Array) -> None:
    exact = row.astype(np.float64)
    if not np.isfinite(exact).all() or exact.min() == exact.max():
        raise InvalidManifest(
            f"{said}: for a random picture its numbers are "
            f"{'all the same' if np.isfinite(exact).all() else 'not finite'}, so they say nothing. Check the model's "
            "input (--scale, --mean, --std) and whether its weights are there."
        )
